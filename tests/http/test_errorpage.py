import json
from html.parser import HTMLParser

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.errors import REASONS
from txrproxy.http.errorpage import page

HTML, JSON, PROBLEM = b"text/html; charset=utf-8", b"application/json", b"application/problem+json"
FIREFOX = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class NegotiationTests(SynchronousTestCase):
    def test_table(self):
        for accept, expected in (
            (None, JSON),
            (b"", JSON),
            (b"*/*", JSON),
            (b"image/avif,image/webp,*/*;q=0.8", JSON),
            (b"image/png", JSON),
            (FIREFOX, HTML),
            (b"text/html", HTML),
            (b"TEXT/HTML;charset=utf-8 ; Q=0.5", HTML),
            (b"text/*", HTML),
            (b"text/*, text/html;q=0, application/json;q=0.1", JSON),
            (b"text/html, application/json", HTML),
            (b"text/html;q=0.9, application/json", JSON),
            (b"text/html;q=0.2, */*;q=0.3", JSON),
            (b"text/html;q=0.3, application/*;q=0.299", HTML),
            (b"application/*", JSON),
            (b"application/problem+json", PROBLEM),
            (b"application/problem+json, application/json;q=0.9, */*;q=0.1", PROBLEM),
            (b"application/problem+json, application/json", JSON),
            (b"*/*, application/json;q=0, application/problem+json;q=0.5", PROBLEM),
            (b"text/html;q=2", JSON),
            (b"text/html;q=0.1234", JSON),
            (b"text/html;q", JSON),
            (b",,;;,text/html", HTML),
            (b"a/b," * 40 + b"text/html", JSON),
        ):
            self.assertEqual(page(404, "Gone.", b"id", accept)[0], expected, accept)


class _Text(HTMLParser):
    def __init__(self):
        super().__init__()
        self.text, self.tags, self.attributes = "", [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.text += data


class PageTests(SynchronousTestCase):
    def test_html(self):
        _, body = page(502, 'The server is <down> & "out".', b"<script>'\xff", FIREFOX)
        parsed = _Text()
        parsed.feed(body.decode("utf-8"))
        self.assertIn("502 Bad Gateway", parsed.text)
        self.assertIn('The server is <down> & "out".', parsed.text)
        self.assertIn("<script>'\xff", parsed.text)
        self.assertNotIn("script", parsed.tags)
        self.assertIn(b"prefers-color-scheme: dark", body)
        self.assertLess(len(body), 1400)

    def test_html_loads_nothing(self):
        _, body = page(500, "x", b"id", b"text/html")
        parsed = _Text()
        parsed.feed(body.decode())
        self.assertEqual({"src", "href"} & set(parsed.attributes), set())
        self.assertNotIn(b"url(", body)

    def test_json(self):
        _, body = page(504, 'Too "slow".', b'id\n"\xff')
        self.assertEqual(
            json.loads(body),
            {
                "status": 504,
                "error": "Gateway Timeout",
                "message": 'Too "slow".',
                "request_id": 'id\n"\xff',
            },
        )

    def test_problem(self):
        _, body = page(404, "Nothing here.", b"id", PROBLEM)
        self.assertEqual(
            json.loads(body),
            {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": "Nothing here.",
                "request_id": "id",
            },
        )

    def test_unregistered_status_and_odd_text(self):
        self.assertEqual(json.loads(page(599, "x", b"")[1])["error"], "Error")
        self.assertIn(b"<p>?</p>", page(500, "\ud800", b"", b"text/html")[1])

    def test_every_reason(self):
        for reason in REASONS.values():
            if reason.status:
                body = json.loads(page(reason.status, reason.text, b"id")[1])
                self.assertNotEqual(body["error"], "Error", reason.name)
