"""Locations: what each placeholder brings, and that no request can choose another host."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes, urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.routing.redirect import Template


def expand(
    text: str,
    path: bytes = b"a/b",
    query: bytes | None = None,
    *,
    raw_path: bytes = b"/old/a/b",
    host: bytes = b"www.example.com",
    scheme: bytes = b"http",
) -> bytes:
    template = Template.compile(text)
    return template.expand(scheme=scheme, host=host, path=path, raw_path=raw_path, query=query)


class TemplateTests(SynchronousTestCase):
    def test_placeholders(self) -> None:
        for text, expected in (
            ("https://example.com/new/{path}", b"https://example.com/new/a/b"),
            ("https://example.com{uri}", b"https://example.com/old/a/b"),
            ("https://example.com{path}", b"https://example.com/a/b"),
            ("https://example.com/#{path}", b"https://example.com/#a/b"),
            ("https://{host}{uri}", b"https://www.example.com/old/a/b"),
            ("https://{host}:8443/", b"https://www.example.com:8443/"),
            ("https://m.{host}/", b"https://m.www.example.com/"),
            ("{scheme}://new.example{uri}", b"http://new.example/old/a/b"),
            ("//cdn.example/{path}", b"//cdn.example/a/b"),
            ("https://example.com", b"https://example.com"),
            ("/new/{path}", b"/new/a/b"),
            ("/{path}", b"/a/b"),
            ("{path}", b"/a/b"),
            ("{uri}", b"/old/a/b"),
            ("/{host}/{scheme}", b"/www.example.com/http"),
            ("/caf\u00e9#\u00e9", b"/caf%C3%A9#%C3%A9"),
        ):
            self.assertEqual(expand(text), expected, text)

    def test_query(self) -> None:
        for text, expected in (
            ("/n/{path}", b"/n/a/b?x=1&y"),
            ("{uri}", b"/old/a/b?x=1&y"),
            ("https://example.com", b"https://example.com?x=1&y"),
            ("/n?z=2", b"/n?z=2&x=1&y"),
            ("/n?", b"/n"),
            ("/n#top", b"/n?x=1&y#top"),
            ("/n?{query}", b"/n?x=1&y"),
            ("/n?z=2&{query}", b"/n?z=2&x=1&y"),
            ("/n?z={query}", b"/n?z=x%3D1%26y"),
            ("/n/{query}", b"/n/x=1&y"),
            ("/n?next={uri}", b"/n?next=/old/a/b%3Fx%3D1%26y"),
            ("{uri}?z=2", b"/old/a/b?z=2&x=1&y"),
            ("/n?h={host}", b"/n?h=www.example.com&x=1&y"),
            ("/n#{query}", b"/n#x=1&y"),
        ):
            self.assertEqual(expand(text, query=b"x=1&y"), expected, text)

    def test_no_query(self) -> None:
        for query in (None, b""):
            self.assertEqual(expand("/n?{query}", query=query), b"/n")
            self.assertEqual(expand("/n?z=2&{query}", query=query), b"/n?z=2")
            self.assertEqual(expand("/n", query=query), b"/n")

    def test_no_request_names_another_host(self) -> None:
        for text in ("/{path}", "{path}", "//{path}"):
            for path, expected in (
                (b"/evil.com", b"/evil.com"),
                (b"//evil.com", b"/evil.com"),
                (b"\\evil.com", b"/%5Cevil.com"),
                (b"", b"/"),
            ):
                self.assertEqual(expand(text, path), expected, (text, path))
        self.assertEqual(expand("{uri}", raw_path=b"//evil.com/x"), b"/evil.com/x")
        self.assertEqual(
            expand("https://good.com{path}", b".evil.com"), b"https://good.com/.evil.com"
        )
        self.assertEqual(
            expand("https://good.com{path}", b"@evil.com"), b"https://good.com/@evil.com"
        )

    def test_without_a_usable_host_or_scheme(self) -> None:
        for host in (b"", b"evil.com/", b"a b", b"u@evil.com", b"a\r\nb"):
            self.assertEqual(expand("https://{host}{uri}", host=host), b"/old/a/b")
            self.assertEqual(expand("https://{host}", host=host), b"/")
            self.assertEqual(expand("https://good.com/", host=host), b"https://good.com/")
        self.assertEqual(expand("https://{host}/", host=b"[::1]"), b"https://[::1]/")
        self.assertEqual(expand("{scheme}://good.com/x", scheme=b"javascript"), b"/x")
        self.assertEqual(expand("{scheme}://good.com/x", host=b""), b"http://good.com/x")
        self.assertEqual(expand("https://{host}/x", scheme=b""), b"https://www.example.com/x")

    def test_no_header_injection(self) -> None:
        location = expand("/{path}?a={path}#{path}", b"x\r\nset-cookie: a=b\xff", b"\r\ny: z")
        self.assertRegex(location, rb"\A[!-~]+\Z")

    def test_refused(self) -> None:
        for text, message in (
            ("", "neither"),
            ("new/{path}", "neither"),
            ("?x", "neither"),
            ("#x", "neither"),
            ("{host}/x", "neither"),
            ("https:///x", "neither"),
            ("https://{path}/", "neither"),
            ("https://x{query}", "may follow"),
            ("https://x{scheme}", "may follow"),
            ("https://caf\u00e9/", "ASCII"),
            ("/a b", "spaces"),
            ("/a\r\nb", "spaces"),
            ("/{pth}", "did you mean {path}"),
            ("/{zzz}", "known: path"),
            ("/{}", "known: path"),
            ("/{path", "partner"),
            ("/path}", "partner"),
        ):
            error = self.assertRaises(ValueError, Template.compile, text)
            self.assertIn(message, str(error), text)

    @settings(max_examples=300, deadline=None)
    @given(
        st.sampled_from(
            ["/{path}", "{uri}", "/a{path}?n={uri}", "https://good.com{path}", "/{query}{host}"]
        ),
        st.text("/\\.@:?#&= %\r\nae\xff", max_size=8),
        st.text("/\\.@:?#&= %\r\nae\xff", max_size=8),
    )
    def test_authority_is_the_templates(self, text: str, path: str, query: str) -> None:
        raw, arguments = path.encode("latin-1"), query.encode("latin-1")
        location = expand(text, raw, arguments, raw_path=b"/" + raw, host=raw)
        self.assertRegex(location, rb"\A[!-~]+\Z")
        split = urlsplit(location)
        if text.startswith("https"):
            self.assertTrue(location.startswith(b"https://good.com/"))
        else:
            self.assertRegex(location, rb"\A/(?![/\\])")
            self.assertEqual((split.scheme, split.netloc), (b"", b""))
        self.assertEqual(split.fragment, b"")
        if "n={uri}" in text:
            name, _, value = split.query.partition(b"=")
            self.assertEqual((name, unquote_to_bytes(value)), (b"n", b"/" + raw + b"?" + arguments))
