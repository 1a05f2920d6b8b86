"""Keys and variants: what is told apart, and what is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.cache.play import Play, request
from txrproxy.cache.key import (
    _MAX_DERIVED,
    _MEMO_HOSTS,
    KeyMaker,
    NotUrl,
    absolute_url,
    normal_field,
    variant,
    written_prefix,
    written_url,
)
from txrproxy.http.fields import Fields, make_line

ALL = ("host", "path", "query")


def fields(*pairs: tuple[bytes, bytes]) -> Fields:
    return Fields([make_line(name, value) for name, value in pairs])


def key(
    authority: bytes = b"h",
    target: bytes = b"/",
    *pairs: tuple[bytes, bytes],
    parts: tuple[str, ...] = ALL,
    scheme: bytes = b"http",
    scope: bytes = b"r",
) -> bytes:
    return KeyMaker(parts, scope).key(scheme, authority, target, fields(*pairs))


class KeyTests(SynchronousTestCase):
    def test_one_address_in_several_spellings(self) -> None:
        """An origin may see a difference, but what is purged is all of them."""
        spellings = (
            (b"example.com", b"/a%2Fb?c=%3D"),
            (b"EXAMPLE.com", b"/a%2Fb?c=%3D"),
            (b"example.com:80", b"/a%2Fb?c=%3D"),
            (b"example.com:", b"/a%2Fb?c=%3D"),
            (b"example.com", b"/a%2fb?c=%3D"),
            (b"example.com", b"/a%2Fb?c=%3d"),
        )
        self.assertEqual(len({key(*spelling) for spelling in spellings}), len(spellings))
        self.assertEqual(len({absolute_url(b"http", *spelling) for spelling in spellings}), 1)
        self.assertEqual(
            absolute_url(b"https", b"[::1]:443", b"/"), absolute_url(b"https", b"[::1]", b"/")
        )

    def test_poisoning_table(self) -> None:
        """What an origin could answer differently is another key."""
        plain = key(b"example.com", b"/a?b=1")
        for authority, target in (
            (b"example.com:8080", b"/a?b=1"),
            (b"example.com:443", b"/a?b=1"),
            (b"example.com.", b"/a?b=1"),
            (b"www.example.com", b"/a?b=1"),
            (b"example.com", b"/a?b=1&"),
            (b"example.com", b"/a?B=1"),
            (b"example.com", b"/A?b=1"),
            (b"example.com", b"/%61?b=1"),
            (b"example.com", b"//a?b=1"),
            (b"example.com", b"/a/?b=1"),
            (b"example.com", b"/./a?b=1"),
            (b"example.com", b"/x/../a?b=1"),
            (b"example.com", b"/a;jsessionid=1?b=1"),
            (b"example.com", b"/a%3Fb=1"),
            # Parameter cloaking: what some parsers take for a separator or an override.
            (b"example.com", b"/a?b=1;b=2"),
            (b"example.com", b"/a?b=1&b=2"),
            (b"example.com", b"/a?b=1&utm_source=x"),
            (b"example.com", b"/a?b=1?c"),
            (b"example.com", b"/a?b=%31"),
            (b"example.com", b"/a?b=1%20"),
            (b"example.com", b"/a?b=1+"),
            (b"example.com", b"/a?"),
            (b"example.com", b"/a"),
        ):
            self.assertNotEqual(key(authority, target), plain, (authority, target))
        self.assertNotEqual(key(b"h", b"/a"), key(b"h", b"/a?"))
        self.assertNotEqual(key(scheme=b"https"), key(scheme=b"http"))
        self.assertNotEqual(key(scope=b"other"), key())

    def test_parts(self) -> None:
        self.assertEqual(key(b"x", b"/a?b", parts=("path",)), key(b"y", b"/a?c", parts=("path",)))
        self.assertNotEqual(key(b"x", b"/a", parts=("path",)), key(b"x", b"/b", parts=("path",)))
        self.assertEqual(key(b"x", b"/a?b", parts=("query",)), key(b"y", b"/c?b", parts=("query",)))
        self.assertNotEqual(key(b"x", b"/", parts=("host",)), key(b"y", b"/", parts=("host",)))
        self.assertEqual(key(parts=("query", "scheme", "host", "path")), key())
        # A store outlives the configuration.
        self.assertNotEqual(key(parts=("host", "path")), key(parts=ALL))
        self.assertNotEqual(key(b"*", b"/", parts=("path",)), key(b"*", b"/", parts=ALL))

    def test_fields_in_the_key(self) -> None:
        def named(*pairs: tuple[bytes, bytes]) -> bytes:
            return key(b"h", b"/", *pairs, parts=(*ALL, "header:X-A", "header:x-b"))

        keys = [
            named(),
            named((b"X-A", b"")),
            named((b"X-A", b"-")),
            named((b"X-A", b"1")),
            named((b"X-B", b"1")),
            named((b"X-A", b"1"), (b"X-B", b"1")),
            named((b"X-A", b"1=")),
        ]
        self.assertEqual(len(set(keys)), len(keys))
        self.assertEqual(named((b"x-a", b"1, 2")), named((b"X-A", b"1"), (b"X-A", b"2")))

    def test_cookies_in_the_key(self) -> None:
        def named(*values: bytes) -> bytes:
            pairs = [(b"Cookie", value) for value in values]
            return key(b"h", b"/", *pairs, parts=(*ALL, "cookie:sid", "cookie:Lang"))

        self.assertEqual(named(b"sid=1; x=2"), named(b"y=3;sid=1"))
        self.assertEqual(named(b"x=1"), named())
        keys = [
            named(),
            named(b"sid"),
            named(b"sid=1"),
            named(b"SID=1"),
            named(b"sid=1; sid=2"),
            named(b"sid=2", b"sid=1"),
            named(b"Lang=1"),
            named(b"sid=1; Lang=1"),
        ]
        # White space around a name is no part of it, to most.
        for spaced in (b"sid =1", b"\tsid\t=1", b"x=1; sid =1"):
            self.assertEqual(named(spaced), named(b"sid=1"))
        self.assertNotEqual(named(b"sid= 1"), named(b"sid=1"))
        # A cookie without a value is one with an empty value, to most.
        self.assertEqual(named(b"sid"), named(b"sid="))
        self.assertEqual(len(set(keys)), len(keys) - 1)

    def test_what_a_trusted_proxy_says(self) -> None:
        def told(*pairs: tuple[bytes, bytes], trusted: bool = True) -> bytes:
            return KeyMaker(ALL).key(b"http", b"h", b"/", fields(*pairs), trusted)

        keys = [
            told(),
            told((b"X-Forwarded-Proto", b"https")),
            told((b"X-Forwarded-Proto", b"http")),
            told((b"X-Forwarded-Host", b"https")),
            told((b"X-Forwarded-Port", b"1"), (b"X-Forwarded-Host", b"other")),
            told((b"Forwarded", b"for=1.2.3.4;Proto=https")),
            told((b"Forwarded", b'for=1.2.3.4; host="a;b"')),
            told((b"Forwarded", b"host=a, host=b")),
        ]
        self.assertEqual(len(set(keys)), len(keys))
        # One key for all clients.
        for pair in (
            (b"X-Forwarded-For", b"1.2.3.4"),
            (b"Forwarded", b"for=1.2.3.4;by=x"),
            (b"X-Real-IP", b"1.2.3.4"),
            (b"X-Request-Id", b"1"),
            (b"Via", b"1.1 x"),
        ):
            self.assertEqual(told(pair), told(), pair)
        # From anyone else those fields do not reach the origin.
        self.assertEqual(told((b"X-Forwarded-Host", b"evil"), trusted=False), told())

    def test_no_part(self) -> None:
        for part in ("", "port", "header:", "header:a b", "cookie:\u00e9", "header"):
            self.assertRaises(ValueError, KeyMaker, (part,))

    def test_hosts_are_bounded(self) -> None:
        maker = KeyMaker(ALL)
        for number in range(_MEMO_HOSTS + 2):
            maker.key(b"http", b"h%d" % number, b"/", fields())
        self.assertLessEqual(len(maker._bases), _MEMO_HOSTS)

    def test_url(self) -> None:
        self.assertEqual(absolute_url(b"https", b"H:443", b"/%aa?b"), b"https://h/%AA?b")

    @given(
        st.tuples(st.sampled_from([b"h", b"h:1", b"*"]), st.sampled_from([b"/", b"/a?", b"/?a"])),
        st.tuples(st.sampled_from([b"h", b"h:1", b"*"]), st.sampled_from([b"/", b"/a?", b"/?a"])),
    )
    def test_different_addresses_differ(
        self, one: tuple[bytes, bytes], other: tuple[bytes, bytes]
    ) -> None:
        self.assertEqual(key(*one) == key(*other), one == other)

    text = st.text(st.sampled_from("ab=;, -*\t"), max_size=6).map(lambda t: t.encode().strip())

    @given(st.lists(text, max_size=3), st.lists(text, max_size=3))
    def test_headers_never_run_together(self, one: list[bytes], other: list[bytes]) -> None:
        def made(values: list[bytes]) -> bytes:
            return key(
                b"h", b"/", *[(b"User-Agent", v) for v in values], parts=("header:user-agent",)
            )

        self.assertEqual(
            made(one) == made(other),
            b", ".join(one) == b", ".join(other) and bool(one) == bool(other),
        )


class RequestPoisoningTests(SynchronousTestCase):
    """What a client can send that is in no key does not get at what others see."""

    def test_unkeyed_input_is_not_stored(self) -> None:
        for lines, target in (
            ((b"Content-Length: 3",), b"/a"),  # fat GET
            ((b"Transfer-Encoding: chunked",), b"/a"),
            ((b"X-HTTP-Method-Override: POST",), b"/a"),
            ((b"X-Original-URL: /admin",), b"/a"),
            ((b"X-Rewrite-URL: /admin",), b"/a"),
            ((b"X-Host: evil.example",), b"/a"),
            ((b"Connection: upgrade", b"Upgrade: websocket"), b"/a"),
        ):
            play = Play()
            play.origin(b"Cache-Control: max-age=60", body=b"poison")
            got = play.ask(*lines, target=target)
            self.assertIn(b"fwd=bypass", got.cache_status)
            self.assertEqual(play.kept, {}, lines)
            # Nor are they answered from the cache.
            play.ask(target=target)
            self.assertIsNotNone(play.ask(*lines, target=target).reached)

    def test_host_variants(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=60")
        play.ask(host=b"example.com")
        self.assertFalse(play.ask(host=b"EXAMPLE.com:80").is_hit)
        for host in (b"example.com:1337", b"example.com.", b"evil.example"):
            self.assertFalse(play.ask(host=host).is_hit)


class VariantTests(SynchronousTestCase):
    def same(self, name: bytes, *spellings: list[bytes]) -> None:
        made = {variant((name,), fields(*[(name, v) for v in values])) for values in spellings}
        self.assertEqual(len(made), 1, spellings)

    def differ(self, name: bytes, *spellings: list[bytes]) -> None:
        made = {variant((name,), fields(*[(name, v) for v in values])) for values in spellings}
        self.assertEqual(len(made), len(spellings), spellings)

    def test_without_vary(self) -> None:
        self.assertEqual(variant((), fields()), b"")

    def test_any_field(self) -> None:
        self.same(b"foo", [b"1, 2"], [b"1,2"], [b"1", b"2"], [b"1 ,\t2"])
        self.differ(
            b"foo", [], [b""], [b"1"], [b"2"], [b"1,2"], [b"2,1"], [b"1,,2"], [b"A"], [b"a"]
        )
        self.differ(b"foo", [b'"a, b"'], [b'"a,b"'], [b'"a, b'], [b'"a,b'])
        self.differ(b"foo", [b'"a\\", b"'], [b'"a\\",b"'])
        self.same(b"foo", [b'"a, b", c'], [b'"a, b",c'])

    def test_fields_that_are_no_lists(self) -> None:
        self.differ(b"user-agent", [b"a (b, c)"], [b"a (b,c)"])
        self.same(b"cookie", [b"a=1; b=2"], [b"a=1", b"b=2"])
        self.differ(b"cookie", [b"a=1,b"], [b"a=1, b"])

    def test_weighted_lists(self) -> None:
        self.same(
            b"accept-language",
            [b"en, de"],
            [b"eN, De"],
            [b" en ,   de"],
            [b"en;q=1, de"],
            [b"en;Q=1.000", b"de; q=1."],
            [b"en,,de,en"],
        )
        self.differ(
            b"accept-language",
            [b"en, de"],
            [b"de, en"],
            [b"en, de;q=0.5"],
            [b"en;q=0.5, de"],
            [b"en, de;q=0"],
            [b"en"],
            [b"*"],
            [b""],
            [],
        )
        self.same(b"accept-encoding", [b"gzip;q=0.50, br"], [b"BR, gzip; q=0.5"])
        self.same(b"accept", [b"text/HTML;level=1;q=0.4, */*"], [b"text/html;level=1; q=0.400,*/*"])
        self.differ(b"accept", [b"text/html, application/json"], [b"application/json, text/html"])
        self.differ(b"accept", [b"text/html;level=1"], [b"text/html;level=2"], [b"text/html"])

    def test_malformed_weights_stand_as_they_are(self) -> None:
        self.differ(b"accept-encoding", [b"gzip;q=2, br"], [b"br, gzip;q=2"], [b"gzip;x, br"])
        self.differ(b"accept-encoding", [b";q=1, br"], [b"br, ;q=1"])
        self.differ(b"accept", [b'a/b;c="d"'], [b'A/b;c="d"'])

    def test_several_fields_never_run_together(self) -> None:
        names = (b"a", b"b")
        made = {
            variant(names, fields(*pairs))
            for pairs in (
                [],
                [(b"a", b"")],
                [(b"b", b"")],
                [(b"a", b"b=")],
                [(b"a", b"1"), (b"b", b"2")],
                [(b"a", b"2"), (b"b", b"1")],
            )
        }
        self.assertEqual(len(made), 6)

    def test_is_remembered_within_bounds(self) -> None:
        one = request(b"Foo: 1").fields
        self.assertIs(variant((b"foo",), one), variant((b"foo",), one))
        for number in range(2 * _MAX_DERIVED):
            variant((b"x%d" % number,), one)
        self.assertLessEqual(len(one.derived), _MAX_DERIVED)

    def test_two_weights_are_none(self) -> None:
        """Who reads the first and who reads the last would answer differently."""
        one, other = (
            normal_field(b"accept", [value]) for value in (b"a/b;q=0.5;q=1", b"a/b;q=0.5")
        )
        self.assertNotEqual(one, other)
        self.assertEqual(normal_field(b"accept", [b"a/b;q;q=1"]), b"=a/b;q;q=1")

    @given(
        st.lists(st.sampled_from([b"gzip", b"br;q=0.5", b"x;q=0", b"y"]), min_size=1, max_size=5)
    )
    def test_order_of_codings(self, members: list[bytes]) -> None:
        one = normal_field(b"accept-encoding", [b", ".join(members)])
        other = normal_field(b"accept-encoding", list(reversed(members)))
        self.assertEqual(one, other)


class WrittenTests(SynchronousTestCase):
    """URLs as people write them, or copy them from a log."""

    def test_urls(self) -> None:
        for written, expected in (
            (b"http://a.example/", b"http://a.example/"),
            (b"HTTP://A.Example:80", b"http://a.example/"),
            (b"https://a:443?x=%c3", b"https://a/?x=%C3"),
            (b"http://a:8080/b%2f?c=d#e", b"http://a:8080/b%2F?c=d"),
            ("http://a/ü b".encode(), b"http://a/%C3%BC%20b"),
            (b"http://[::1]:80/", b"http://[::1]/"),
        ):
            self.assertEqual(written_url(written), expected)
            self.assertEqual(written_url(expected), expected)

    def test_prefixes(self) -> None:
        for written, expected in (
            (b"", b""),
            (b"HTTP", b"http"),
            (b"https://", b"https://"),
            (b"http://A.Exa", b"http://a.exa"),
            (b"http://A:80", b"http://a:80"),
            (b"http://A:80/b", b"http://a/b"),
            (b"http://a/%c3%a", b"http://a/%C3%A"),
            (b"http://a/%", b"http://a/%"),
            (b"http://a?b", b"http://a/?b"),
        ):
            self.assertEqual(written_prefix(written), expected)
            self.assertEqual(written_prefix(expected), expected)

    def test_none(self) -> None:
        for wrong in (b"/b", b"a.example/b", b"ftp://a/", b"*"):
            self.assertRaises(NotUrl, written_url, wrong)
            self.assertRaises(NotUrl, written_prefix, wrong)
        for wrong in (b"", b"http://", b"http:///b"):
            self.assertRaises(NotUrl, written_url, wrong)

    @given(st.lists(st.sampled_from((b"%c3", b"%5A", b"/", b"?", b"#", b"z", b"\xff", b" "))))
    def test_any(self, text: list[bytes]) -> None:
        """What is spelled so once is spelled so again, and a URL begins with its prefixes."""
        url = written_url(b"http://a/" + b"".join(text))
        self.assertEqual(written_url(url), url)
        for end in range(len(url)):
            self.assertTrue(url.startswith(written_prefix(url[:end])))
