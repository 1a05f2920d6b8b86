"""What a response says of its backend's own address, and what clients get to read instead."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http.fields import Line, parse_line
from txrproxy.http.public import PublicAddress, may_name_backend, public_lines


class PublicAddressTests(SynchronousTestCase):
    public = PublicAddress(
        b"https",
        b"www.example:8443",
        b"www.example",
        frozenset({b"10.0.0.1:8080", b"app.internal", b"[fd00::1]:81"}),
        frozenset({b"10.0.0.1", b"app.internal"}),
        b"/mount",
    )

    def rewritten(self, line: bytes, public: PublicAddress | None = None) -> bytes:
        (made,) = public_lines([parse_line(line)], public or self.public)
        self.assertEqual(made[2], line.partition(b":")[0] + b": " + made[1] + b"\r\n")
        self.assertEqual(made[0], line.partition(b":")[0].lower())
        return made[1]

    def test_urls(self) -> None:
        there = b"https://www.example:8443/mount"
        for url, expected in (
            (b"http://10.0.0.1:8080/a?b#c", there + b"/a?b#c"),
            (b"HTTP://10.0.0.1:8080/", there + b"/"),
            (b"http://10.0.0.1:8080", there),
            (b"http://10.0.0.1:8080?a", there + b"?a"),
            (b"https://10.0.0.1:8080/", there + b"/"),
            (b"http://APP.internal/x", there + b"/x"),
            (b"http://app.internal:80/x", there + b"/x"),
            (b"//app.internal/x", b"//www.example:8443/mount/x"),
            (b"//app.internal:80/x", b"//www.example:8443/mount/x"),
            (b"http://[FD00::1]:81/", there + b"/"),
            # Not the backend's own.
            (b"https://app.internal:80/x", None),
            (b"http://app.internal:8081/x", None),
            (b"http://10.0.0.1/x", None),
            (b"http://10.0.0.1:80800/x", None),
            (b"http://app.internal.evil.example/", None),
            (b"http://app.internal@evil.example/", None),
            (b"http://user@app.internal/", b"https://www.example:8443/mount/"),
            (b"http://www.example/", None),
            (b"ftp://app.internal/", None),
            (b"/x//app.internal/", None),
            (b"x", None),
            (b"", None),
        ):
            for name in (b"Location", b"content-location"):
                got = self.rewritten(name + b": " + url)
                self.assertEqual(got, url if expected is None else expected)

    def test_an_own_default_port(self) -> None:
        public = PublicAddress(b"http", b"p", b"p", frozenset({b"app:80"}), frozenset({b"app"}))
        for url in (b"http://app/x", b"http://app:80/x"):
            self.assertEqual(self.rewritten(b"Location: " + url, public), b"http://p/x")
        self.assertEqual(self.rewritten(b"Location: //app/x", public), b"//p/x")

    def test_nowhere_to_point_to(self) -> None:
        """A client that names no host gets a path, which can not be read as a host."""
        public = PublicAddress(b"http", b"", b"", self.public.own, self.public.own_hosts)
        for value, expected in (
            (b"http://app.internal/a", b"/a"),
            (b"http://app.internal", b"/"),
            (b"http://app.internal?a", b"/?a"),
            (b"//app.internal//evil/x", b"/evil/x"),
            (b"//app.internal/\\evil/x", b"/evil/x"),
            (b"//app.internal\\evil", b"//app.internal\\evil"),  # a host that is none
            (b"http://other/a", b"http://other/a"),
        ):
            self.assertEqual(self.rewritten(b"Location: " + value, public), expected)
            if b"app.internal\\" not in value:
                got = self.rewritten(b"Refresh: 0;url=" + value, public)
                self.assertEqual(got, b"0;url=" + expected)
        got = self.rewritten(b"Set-Cookie: a; Domain=app.internal; Path=/", public)
        self.assertEqual(got, b"a; Path=/")

    def test_other_spellings_of_the_own(self) -> None:
        there = b"https://www.example:8443/mount/x"
        for authority in (b"app.internal.", b"APP.internal.:80", b"[fd00:0:0::1]:81"):
            self.assertEqual(self.rewritten(b"Location: http://" + authority + b"/x"), there)

    def test_links(self) -> None:
        there = b"https://www.example:8443/mount"
        for value, expected in (
            (
                b"<http://app.internal/a.css>; rel=preload, </b>",
                b"<" + there + b"/a.css>; rel=preload, </b>",
            ),
            (b"<//10.0.0.1:8080>; rel=x", b"<//www.example:8443/mount>; rel=x"),
            (b'default="http://app.internal/r"', b'default="' + there + b'/r"'),
            (b'{"url":"http://app.internal/r"}', b'{"url":"' + there + b'/r"}'),
            (b"<https://other.example/a>; rel=next", None),
            (b"</a>; rel=next", None),
        ):
            for name in (b"Link", b"Report-To", b"reporting-endpoints", b"WWW-Authenticate"):
                got = self.rewritten(name + b": " + value)
                self.assertEqual(got, value if expected is None else expected)

    def test_alternative_services(self) -> None:
        for value, stays in (
            (b'h2="app.internal:8443"; ma=60', False),
            (b'h3=":443", h2="10.0.0.1:443"', False),
            (b'h3=":443"', True),
            (b"clear", True),
            (b'h2="other.example:443"', True),
        ):
            made = public_lines([parse_line(b"Alt-Svc: " + value)], self.public)
            self.assertEqual(bool(made), stays, value)

    def test_refresh(self) -> None:
        there = b"https://www.example:8443/mount"
        for value, expected in (
            (b"0;url=http://app.internal/x", b"0;url=" + there + b"/x"),
            (b"5 ; URL = 'http://app.internal/x'", b"5 ; URL = '" + there + b"/x'"),
            (b'1.5, url="http://app.internal/"', b'1.5, url="' + there + b'/"'),
            (b"0;url=//app.internal/x", b"0;url=//www.example:8443/mount/x"),
            (b"0;url=/x", None),
            (b"0;url='http://app.internal/", b"0;url='" + there + b"/"),
            (b"5", None),
            (b"x", None),
        ):
            got = self.rewritten(b"Refresh: " + value)
            self.assertEqual(got, value if expected is None else expected)

    def test_refresh_takes_linear_time(self) -> None:
        """In quadratic time this would take minutes."""
        for quote in (b"", b"'", b'"'):
            value = b"0;url=" + quote + b" " * 300_000 + b"x"
            self.assertEqual(self.rewritten(b"Refresh: " + value), value)
        self.rewritten(b"Set-Cookie: a" + b"; " * 150_000 + b"domain")
        for text in (
            b"/" * 300_000,
            b"http://" * 50_000,
            b"//a" + b"/" * 300_000,
            b"//" + b"a" * 300_000,
        ):
            self.rewritten(b"Link: " + text)
            self.rewritten(b"Location: " + text)

    def test_cookies(self) -> None:
        for value, expected in (
            (b"a=b; Domain=app.internal; Path=/", b"a=b; Domain=www.example; Path=/"),
            (b"a=b; domain = .APP.internal", b"a=b; domain = www.example"),
            (b"a=b;Domain=10.0.0.1", b"a=b;Domain=www.example"),
            (b"a=b; Domain=other.example", None),
            (b"a=b; Domain=sub.app.internal", None),
            (b"a=b; Domain=", None),
            (b"domain=app.internal", None),
            (b"a=app.internal; Path=/", None),
        ):
            got = self.rewritten(b"Set-Cookie: " + value)
            self.assertEqual(got, value if expected is None else expected)

    def test_what_may_name_it(self) -> None:
        for line, expected in (
            (b"Location: http://a/", True),
            (b"Location: /a", False),
            (b"Link: <//a>", True),
            (b"Set-Cookie: a=b; DOMAIN=c", True),
            (b"Set-Cookie: a=b", False),
            (b"Alt-Svc: clear", True),
            (b"X-Link: http://a/", False),
        ):
            self.assertIs(may_name_backend(parse_line(line)), expected, line)

    def test_other_lines_stay(self) -> None:
        line: Line = parse_line(b"X-Link: http://app.internal/")
        self.assertIs(public_lines([line], self.public)[0], line)
        same = parse_line(b"LOCATION:/x")
        self.assertIs(public_lines([same], self.public)[0], same)

    @given(st.text("htp:/@apinernl.0:8[]?#\\ ", max_size=30))
    def test_only_the_own_authority_is_ever_replaced(self, text: str) -> None:
        url = text.encode()
        got = self.rewritten(b"Location: " + url).strip()
        if got != url.strip():
            own = re.fullmatch(rb"(?:https?:)?//([^/?#]*).*", url.strip())
            assert own is not None
            self.assertIn(own[1].removesuffix(b":80"), self.public.own)
