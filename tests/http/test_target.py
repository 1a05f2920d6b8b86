"""Targets and authorities: tables of what is taken and refused, and properties of the copy."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy import errors
from txrproxy.http.target import (
    BadTarget,
    Target,
    keeps_segments,
    normalise_path,
    normalise_prefix,
    parse_target,
    remove_dot_segments,
    spell,
    split_authority,
    valid_host,
)


class ParseTargetTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        table: list[tuple[bytes, bytes, Target]] = [
            (b"GET", b"/", Target("origin", b"/", None, b"/")),
            (b"GET", b"/?", Target("origin", b"/", b"", b"/?")),
            (b"GET", b"/a?b", Target("origin", b"/a", b"b", b"/a?b")),
            (b"GET", b"/a?b?c", Target("origin", b"/a", b"b?c", b"/a?b?c")),
            (b"GET", b"//a//b", Target("origin", b"//a//b", None, b"//a//b")),
            (b"GET", b"/a%2Fb", Target("origin", b"/a%2Fb", None, b"/a%2Fb")),
            (b"GET", b"/;x=1@c,d", Target("origin", b"/;x=1@c,d", None, b"/;x=1@c,d")),
            (b"GET", b'/{a}|"b"^`<>', Target("origin", b'/{a}|"b"^`<>', None, b'/{a}|"b"^`<>')),
            (b"GET", b"/?%zz%00\\%", Target("origin", b"/", b"%zz%00\\%", b"/?%zz%00\\%")),
            (b"OPTIONS", b"*", Target("asterisk", b"*", None, b"*")),
            (b"OPTIONS", b"/", Target("origin", b"/", None, b"/")),
            (b"GET", b"http://a", Target("absolute", b"/", None, b"/", b"http", b"a")),
            (b"GET", b"HTTPS://A:1/", Target("absolute", b"/", None, b"/", b"https", b"A:1")),
            (b"GET", b"http://a?b", Target("absolute", b"/", b"b", b"/?b", b"http", b"a")),
            (b"GET", b"http://a/b?", Target("absolute", b"/b", b"", b"/b?", b"http", b"a")),
            (b"OPTIONS", b"http://a", Target("absolute", b"*", None, b"*", b"http", b"a")),
            (b"OPTIONS", b"http://a/", Target("absolute", b"/", None, b"/", b"http", b"a")),
            (b"OPTIONS", b"http://a?", Target("absolute", b"/", b"", b"/?", b"http", b"a")),
            (b"GET", b"http://[::1]:8/", Target("absolute", b"/", None, b"/", b"http", b"[::1]:8")),
            (b"CONNECT", b"a:443", Target("authority", b"", None, b"a:443", None, b"a:443")),
        ]
        for method, target, expected in table:
            self.assertEqual(parse_target(method, target), expected, (method, target))

    def test_refused(self) -> None:
        table = [
            (b"GET", target)
            for target in (
                b"",
                b"*",
                b"a",
                b"a/b",
                b"?a",
                b"/#a",
                b"/a?b#c",
                b"/a b",
                b"/a\tb",
                b"/a\x00",
                b"/a\x7f",
                b"/a\x80",
                b"/?a\xff",
                b"/?a b",
                b"/a\\b",
                b"/%",
                b"/%2",
                b"/%2g",
                b"/%zz",
                b"/a%00b",
                b"http:",
                b"http:/a",
                b"http://",
                b"http:///a",
                b"http://u@a/",
                b"http://u:p@a/",
                b"http://a:b/",
                b"http://a:65536/",
                b"http://a\\b/",
                b"http://a/%zz",
                b"http://a/#b",
                b"http://a%41/",
                b"ftp://a/",
                b"ws://a/",
                b"javascript:alert(1)",
                b"example.com:80",
            )
        ]
        table += [
            (b"CONNECT", target)
            for target in (
                b"",
                b"a",
                b"a:",
                b"/",
                b"*",
                b"http://a/",
                b"a:80/",
                b"u@a:80",
                b"a:99999",
            )
        ]
        table += [(b"options", b"*"), (b"HEAD", b"*")]
        for method, target in table:
            error = self.assertRaises(BadTarget, parse_target, method, target)
            self.assertIs(error.reason, errors.BAD_TARGET, (method, target))

    def test_long_target_costs_linear_time(self) -> None:
        """Backtracking would take longer than the age of the universe."""
        for tail in (b"\x00", b"%zz", b"#"):
            self.assertRaises(BadTarget, parse_target, b"GET", b"/" + b"a/%41" * 20000 + tail)
        normalise_path(b"/a" * 50000 + b"/.")
        self.assertFalse(valid_host(b"a." * 50000 + b"!"))

    @settings(deadline=None)
    @given(st.binary(max_size=40))
    def test_never_another_error(self, target: bytes) -> None:
        try:
            parsed = parse_target(b"GET", b"/" + target)
        except BadTarget:
            return
        self.assertEqual(parsed.origin, b"/" + target)
        query = b"" if parsed.query is None else b"?" + parsed.query
        self.assertEqual(parsed.path + query, b"/" + target)


class AuthorityTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        table: list[tuple[bytes, tuple[bytes, int | None]]] = [
            (b"example.com", (b"example.com", None)),
            (b"Example.COM:80", (b"example.com", 80)),
            (b"example.com.", (b"example.com", None)),
            (b"example.com.:8", (b"example.com", 8)),
            (b"example.com:", (b"example.com", None)),
            (b"a_b-c~d.x", (b"a_b-c~d.x", None)),
            (b"127.0.0.1:00080", (b"127.0.0.1", 80)),
            (b"a:0", (b"a", 0)),
            (b"a:65535", (b"a", 65535)),
            (b"[::1]", (b"[::1]", None)),
            (b"[2001:DB8:0:0::1]:443", (b"[2001:db8::1]", 443)),
            (b"[::ffff:1.2.3.4]", (b"[::ffff:102:304]", None)),
            (b"a" * 255, (b"a" * 255, None)),
        ]
        for value, expected in table:
            self.assertEqual(split_authority(value), expected, value)
            self.assertTrue(valid_host(value), value)

    def test_refused(self) -> None:
        for value in (
            b"",
            b".",
            b":80",
            b".a",
            b"a..b",
            b"a..",
            b"a:b",
            b"a:1:2",
            b"a:-1",
            b"a:+1",
            b"a:65536",
            b"a:100000",
            b"a b",
            b" a",
            b"a ",
            b"a\t",
            b"a\n",
            b"a\x00",
            b"a/b",
            b"a\\b",
            b"a,b",
            b"a;b",
            b"a?b",
            b"a#b",
            b"u@a",
            b"%61",
            b"caf\xc3\xa9",
            b"a" * 256,
            b"::1",
            b"[::1",
            b"[]",
            b"[1]",
            b"[:::]",
            b"[::1%25eth0]",
            b"[v1.a]",
            b"[::1]a",
            b"[127.0.0.1]",
        ):
            error = self.assertRaises(BadTarget, split_authority, value)
            self.assertIs(error.reason, errors.BAD_HOST, value)
            self.assertFalse(valid_host(value), value)


# Pieces of which paths that mean mischief are made.
PIECES = [b"/", b"//", b".", b"..", b"%2e", b"%2E", b"%2f", b"%2F", b"%5c", b"\\", b";", b"%3b"]
PIECES += [
    b"a",
    b"%61",
    b"admin",
    b"%41",
    b"%25",
    b"%2525",
    b"%3f",
    b"%20",
    b"~",
    b"%7e",
    b"=",
    b"@",
]
PIECES += [b"*", b"\xc3", b"?", b"#", b" "]
paths = st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: b"/" + b"".join(pieces))


class NormalisePathTests(SynchronousTestCase):
    def test_every_spelling_of_admin(self) -> None:
        for path in (
            b"/admin",
            b"//admin",
            b"///admin",
            b"/./admin",
            b"/.//./admin",
            b"/a/../admin",
            b"/a/%2e%2e/admin",
            b"/a/.%2E/admin",
            b"/a/..%2fadmin",
            b"/a/..%2Fadmin",
            b"/a%2f..%2fadmin",
            b"/a/..%5cadmin",
            b"/a\\..\\admin",
            b"/%2fadmin",
            b"/%5C/admin",
            b"/a/..;/admin",
            b"/a/..;x=1;y/admin",
            b"/a/..%3b/admin",
            b"/a/%2e%2e;/admin",
            b"/.;/admin",
            b"/;/admin",
            b"/;x=y/admin",
            b"/%61dmin",
            b"/%61%64%6D%69%6e",
            b"/a/b/../../admin",
            b"/a//../admin",
        ):
            self.assertEqual(normalise_path(path), b"/admin", path)

    def test_table(self) -> None:
        for path, expected in (
            (b"*", b"*"),
            (b"/", b"/"),
            (b"/.", b"/"),
            (b"/a/", b"/a/"),
            (b"/a//", b"/a/"),
            (b"/a/.", b"/a/"),
            (b"/a/..", b"/"),
            (b"/a/b/..", b"/a/"),
            (b"/a/b/..;x", b"/a/"),
            (b"/a/;x", b"/a/"),
            (b"/a;x=1/b;y", b"/a;x=1/b;y"),
            (b"/a%3bx", b"/a;x"),
            (b"/...", b"/..."),
            (b"/.git/config", b"/.git/config"),
            (b"/..a/b..", b"/..a/b.."),
            (b"/%40me", b"/@me"),
            (b"/%7euser", b"/~user"),
            (b"/a%20b", b"/a%20b"),
            (b"/a b", b"/a%20b"),
            (b"/caf%c3%a9", b"/caf%C3%A9"),
            (b"/caf\xc3\xa9", b"/caf%C3%A9"),
            (b"/%252e%252e/x", b"/%252e%252e/x"),
            (b"/%252E", b"/%252E"),
            (b"/a%3fb", b"/a%3Fb"),
            (b"/a?b#c", b"/a%3Fb%23c"),
            (b"/%0d%0a", b"/%0D%0A"),
        ):
            self.assertEqual(normalise_path(path), expected, path)

    def test_above_the_root(self) -> None:
        for path in (
            b"/..",
            b"/../",
            b"/a/../..",
            b"/%2e%2e",
            b"//..",
            b"/..;/",
            b"/..%2f",
            b"/./..",
        ):
            error = self.assertRaises(BadTarget, normalise_path, path)
            self.assertIs(error.reason, errors.TARGET_ABOVE_ROOT, path)

    def test_malformed_escape(self) -> None:
        for path in (b"/%", b"/%2", b"/%g0"):
            error = self.assertRaises(BadTarget, normalise_path, path)
            self.assertIs(error.reason, errors.BAD_TARGET, path)

    def test_plain_path_is_the_same_object(self) -> None:
        for path in (
            b"/",
            b"/a",
            b"/a/",
            b"/static/app-1.2_x~.js",
            b"/a;x/b,c=d@e:f!$&'()*+",
            b'/{"|"}',
        ):
            self.assertIs(normalise_path(path), path)

    @settings(max_examples=500, deadline=None)
    @given(paths)
    def test_properties(self, path: bytes) -> None:
        try:
            normalised = normalise_path(path)
        except BadTarget:
            return
        self.assertEqual(normalised, remove_dot_segments(spell(path)))
        self.assertEqual(normalise_path(normalised), normalised)
        self.assertTrue(normalised.startswith(b"/"))
        self.assertRegex(normalised, rb"\A[!-~]+\Z")
        segments = normalised.split(b"/")[1:]
        self.assertNotIn(b"", segments[:-1])
        for segment in segments:
            self.assertNotIn(segment.partition(b";")[0], (b".", b".."))
        self.assertNotIn(b"\\", normalised)

    @settings(deadline=None)
    @given(paths)
    def test_escaping_changes_nothing(self, path: bytes) -> None:
        """A fully escaped spelling of the decoded path is the same address."""
        escaped = b"/" + b"".join(b"%%%02x" % code for code in unquote_to_bytes(path)[1:])
        assume(b"%25" not in path)
        try:
            expected = normalise_path(path)
        except BadTarget as error:
            again = self.assertRaises(BadTarget, normalise_path, escaped)
            self.assertIs(again.reason, error.reason)
        else:
            self.assertEqual(normalise_path(escaped), expected)

    def test_prefixes(self) -> None:
        for prefix, expected in (
            (b"/", b"/"),
            (b"/a", b"/a"),
            (b"/a/", b"/a/"),
            (b"/.", b"/."),
            (b"/..", b"/.."),
            (b"/.git", b"/.git"),
            (b"/a/./b//%63", b"/a/b/c"),
            (b"/a/../b", b"/b"),
        ):
            self.assertEqual(normalise_prefix(prefix), expected, prefix)

    def test_keeps_segments(self) -> None:
        for path, expected in (
            (b"/a", True),
            (b"/%61%2fb", True),
            (b"/a/../a", False),
            (b"//a", False),
        ):
            self.assertIs(keeps_segments(path, normalise_path(path)), expected, path)
