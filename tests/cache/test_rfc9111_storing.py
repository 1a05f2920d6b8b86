"""RFC 9111 section 3: what a shared cache stores, and what of it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.cache.play import Play, date
from txrproxy.cache.policy.storing import NEVER


class StoringTests(SynchronousTestCase):
    def hit(self, *lines: bytes, asked: tuple[bytes, ...] = (), status: int = 200, **rules: object):
        """Whether the second of two requests is answered from the cache."""
        play = Play(**rules)
        play.origin(*lines, status=status)
        play.ask(*asked)
        play.wait(1)
        return play.ask().is_hit

    def reason(self, *lines: bytes, asked: tuple[bytes, ...] = (), **given: object) -> str:
        play = Play()
        method, status = given.get("method", b"GET"), given.get("status", 200)
        play.origin(*lines, status=status)  # type: ignore[arg-type]
        play.ask(*asked, method=method)  # type: ignore[arg-type]
        assert play.decision is not None
        self.assertEqual(bool(play.decision), not play.decision.reason)
        return play.decision.reason

    def test_section_3_method_is_understood(self) -> None:
        fresh = b"Cache-Control: max-age=60"
        self.assertEqual(self.reason(fresh), "")
        for method in (b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"M-SEARCH", b"POST"):
            self.assertNotEqual(self.reason(fresh, method=method), "", method)

    def test_section_3_status_is_final_and_understood(self) -> None:
        for status in (200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 503):
            self.assertTrue(self.hit(b"Cache-Control: max-age=60", status=status), status)
        self.assertTrue(self.hit(b"Cache-Control: max-age=60", status=599))
        for status in (100, 103, *NEVER):
            self.assertEqual(
                self.reason(b"Cache-Control: public, max-age=60", status=status), "status"
            )

    def test_section_3_no_store(self) -> None:
        for value in (
            b"no-store",
            b"No-StOrE",
            b"max-age=60, no-store",
            b"no-store, max-age=60, public",
            b'no-store="x"',
            b"no-store =1",
            b"no-store x",
            b'x="y, no-store, max-age=60',
        ):
            self.assertEqual(self.reason(b"Cache-Control: " + value), "no-store", value)
        self.assertFalse(self.hit(b"Cache-Control: no-store, max-age=60", b"Expires: " + date(60)))
        # In a string it is no directive.
        self.assertTrue(self.hit(b'Cache-Control: x="a, no-store", max-age=60'))

    def test_section_3_private(self) -> None:
        for value in (b"private", b"PRIVATE", b"private=x y", b'private=""', b'private="a b"'):
            self.assertEqual(self.reason(b"Cache-Control: max-age=60, " + value), "private", value)

    def test_section_3_something_allows_it(self) -> None:
        # Not a status for which a guess is allowed.
        self.assertEqual(self.reason(status=302), "status")
        self.assertEqual(self.reason(b"Last-Modified: " + date(-900), status=503), "status")
        self.assertTrue(self.hit(b"Expires: " + date(60), status=302))
        self.assertTrue(self.hit(b"Cache-Control: s-maxage=60", status=302))
        self.assertTrue(
            self.hit(b"Cache-Control: public", b"Last-Modified: " + date(-900), status=302)
        )

    def test_section_3_what_can_not_be_used_again_is_not_stored(self) -> None:
        self.assertEqual(self.reason(), "not-fresh")
        self.assertEqual(self.reason(b"Cache-Control: max-age=0"), "not-fresh")
        self.assertEqual(self.reason(b"Cache-Control: no-cache"), "no-cache")
        self.assertEqual(self.reason(b"Cache-Control: no-cache", b'ETag: "a"'), "")
        self.assertEqual(self.reason(b"Cache-Control: max-age=0", b'ETag: "a"'), "")
        self.assertEqual(self.reason(b"Cache-Control: max-age=0, stale-if-error=9"), "")
        # A tag alone says nothing of caching.
        self.assertEqual(self.reason(b'ETag: "a"'), "not-fresh")

    def test_section_3_1_connection_fields_are_not_stored(self) -> None:
        play = Play()
        play.origin(
            b"Cache-Control: max-age=60",
            b"Connection: a, b, content-length",
            b"A: 1",
            b"B: 2",
            b"C: 3",
            b"X-Unknown: 4",
            b"Keep-Alive: 5",
            b"Proxy-Authenticate: 6",
            b"Proxy-Authentication-Info: 7",
            b"Proxy-Authorization: 8",
            b"Proxy-Connection: 9",
            b"TE: 10",
            b"Transfer-Encoding: chunked",
            b"Upgrade: 11",
        )
        play.ask()
        got = play.ask()
        self.assertEqual(
            {line[0] for line in got.fields.lines},
            {b"cache-control", b"c", b"x-unknown", b"date", b"content-length"},
        )
        self.assertEqual(got.fields.all(b"content-length"), (b"10",))

    def test_section_3_1_no_content_has_no_length(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=60", status=204, body=b"")
        play.ask()
        self.assertNotIn(b"content-length", play.ask().fields)

    def test_section_3_1_all_lines_of_a_field(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=60", b"Link: a", b"Link: b")
        play.ask()
        self.assertEqual(play.ask().fields.all(b"link"), (b"a", b"b"))

    def test_section_3_3_partial_content_is_not_stored(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=60", b"Content-Range: bytes 0-4/10", status=206)
        got = play.ask(b"Range: bytes=0-4")
        assert got.reached is not None
        self.assertEqual(got.reached.fields.all(b"range"), (b"bytes=0-4",))
        self.assertEqual((got.status, play.kept), (206, {}))

    def test_section_3_3_the_whole_in_answer_to_a_range_is_stored(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=60")
        play.ask(b"Range: bytes=0-4")
        self.assertTrue(play.ask().is_hit)

    def test_section_3_5_authorization(self) -> None:
        asked = (b"Authorization: Basic QTpC",)
        for value in (b"max-age=60", b"max-age=60, proxy-revalidate", b"max-age=60, immutable"):
            self.assertFalse(self.hit(b"Cache-Control: " + value, asked=asked), value)
        self.assertFalse(self.hit(b"Expires: " + date(60), asked=asked))
        for value in (b"max-age=60, public", b"max-age=60, must-revalidate", b"s-maxage=60"):
            self.assertTrue(self.hit(b"Cache-Control: " + value, asked=asked), value)
        self.assertFalse(self.hit(default_ttl=60, asked=asked))

    def test_section_4_1_selecting_fields_are_those_that_are_sent(self) -> None:
        """What the proxy drops or writes itself is not known from the client's fields."""
        fresh = b"Cache-Control: public, max-age=60"
        told = frozenset({b"remote-user"})
        for name in (
            b"Remote-User",
            b"X-Forwarded-For",
            b"Forwarded",
            b"Via",
            b"X-Real-IP",
            b"X-Request-Id",
            b"X-Forwarded-Client-Cert",
            b"Client-Cert",
            b"X-Client-Cert-Subject",
            b"TE",
            b"Connection",
        ):
            self.assertFalse(self.hit(fresh, b"Vary: Accept, " + name, told=told), name)
            self.assertFalse(self.hit(fresh, keyed=frozenset({name.lower()}), told=told), name)
        # These are in the key.
        for name in (b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Forwarded-Prefix", b"Accept"):
            self.assertTrue(self.hit(fresh, b"Vary: " + name, told=told), name)

    def test_section_4_1_selecting_fields_that_are_removed_on_the_way(self) -> None:
        fresh, vary = b"Cache-Control: max-age=60", b"Vary: Accept-Language"
        keyed = frozenset({b"cookie"})
        removed, german = b"Connection: close, Accept-Language", b"Accept-Language: de"
        self.assertEqual(self.reason(fresh, vary, asked=(removed, german)), "fields")
        self.assertEqual(self.reason(fresh, vary, asked=(removed,)), "fields")
        self.assertTrue(self.hit(fresh, asked=(removed,)))
        self.assertTrue(self.hit(fresh, vary, asked=(b"Connection: close, Foo",)))
        self.assertFalse(self.hit(fresh, asked=(b"Connection: cookie",), keyed=keyed))
        self.assertTrue(self.hit(fresh, asked=(b"Connection: cookie",)))
        # What tells of a proxy is in keys.
        self.assertEqual(self.reason(fresh, asked=(b"Connection: X-Forwarded-Proto",)), "fields")

    def test_section_4_1_aliases_of_selecting_fields(self) -> None:
        """CGI and what came of it takes one for the other."""
        fresh = b"Cache-Control: max-age=60"
        for vary, alias in (
            (b"Accept-Language", b"Accept_Language: xx"),
            (b"Accept-Language", b"ACCEPT.Language: xx"),
            (b"X_Kind", b"X-Kind: xx"),
        ):
            self.assertEqual(self.reason(fresh, b"Vary: " + vary, asked=(alias,)), "fields", alias)
        self.assertTrue(self.hit(fresh, b"Vary: X_Kind"))
        self.assertTrue(self.hit(fresh, b"Vary: Accept", asked=(b"Accept_Language: xx",)))
        keyed = frozenset({b"x-kind"})
        self.assertFalse(self.hit(fresh, asked=(b"X_Kind: a",), keyed=keyed))

    def test_section_5_2_1_5_request_no_store(self) -> None:
        fresh = b"Cache-Control: max-age=60"
        self.assertFalse(self.hit(fresh, asked=(b"Cache-Control: No-Store",)))
        self.assertTrue(self.hit(fresh, asked=(b"Cache-Control: no-store",), obey_requests=False))

    def test_section_5_2_2_3_must_understand(self) -> None:
        both = b"Cache-Control: max-age=60, no-store, must-understand"
        self.assertTrue(self.hit(both))
        self.assertFalse(self.hit(both, status=599))
        self.assertEqual(
            self.reason(b"Cache-Control: max-age=60, must-understand", status=299),
            "must-understand",
        )

    def test_section_7_3_cookies(self) -> None:
        cookie = b"Set-Cookie: sid=1"
        self.assertEqual(self.reason(b"Expires: " + date(60), cookie), "set-cookie")
        self.assertFalse(self.hit(cookie, default_ttl=60))
        self.assertFalse(self.hit(cookie, b"Last-Modified: " + date(-9000)))
        # How long a browser may keep it says nothing of what others may get.
        self.assertFalse(self.hit(cookie, b"Cache-Control: max-age=60"))
        self.assertFalse(self.hit(cookie, b"Cache-Control: max-age=60, must-revalidate"))
        for value in (b"public, max-age=60", b"s-maxage=60", b'max-age=60, private="Set-Cookie"'):
            self.assertTrue(self.hit(cookie, b"Cache-Control: " + value), value)
        self.assertTrue(self.hit(cookie, b"CDN-Cache-Control: max-age=60"))

    def test_a_guess_is_not_enough_for_a_request_with_a_cookie(self) -> None:
        modified, asked = b"Last-Modified: " + date(-9000), (b"Cookie: sid=1",)
        self.assertFalse(self.hit(modified, asked=asked))
        self.assertTrue(self.hit(modified))
        self.assertTrue(self.hit(modified, b"Cache-Control: public", asked=asked))
        self.assertTrue(self.hit(modified, asked=asked, default_ttl=60))
        self.assertTrue(self.hit(b"Cache-Control: max-age=60", asked=asked))

    def test_rfc_9110_section_9_3_3_post(self) -> None:
        def hit(*lines: bytes, status: int = 200, asked: tuple[bytes, ...] = ()) -> bool:
            play = Play()
            play.origin(*lines, status=status)
            play.ask(b"Content-Length: 3", *asked, method=b"POST", target=b"/a?x")
            return play.ask(target=b"/a?x").is_hit

        fresh = b"Cache-Control: max-age=60"
        for own in (b"", b"/a?x", b"http://H:80/a?x", b"a?x", b"?x"):
            self.assertTrue(hit(fresh, b"Content-Location: " + own), own)
        for other in (b"/b", b"http://other/a?x", b"http://[/a?x", b"mailto:a@b", b"/a"):
            self.assertFalse(hit(fresh, b"Content-Location: " + other), other)
        own = b"Content-Location: /a?x"
        self.assertFalse(hit(fresh))
        self.assertFalse(hit(fresh, own, own))
        self.assertFalse(hit(own, b"Last-Modified: " + date(-9000)))
        self.assertFalse(hit(fresh, own, status=201))
        self.assertFalse(hit(fresh, own, asked=(b"Cache-Control: no-store",)))
        self.assertFalse(hit(fresh, own, asked=(b"Authorization: x",)))

    def test_tags(self) -> None:
        play = Play()
        play.origin(
            b"Cache-Control: max-age=60",
            b"Surrogate-Key: a  b",
            b"Surrogate-Key: c",
            b"Cache-Tag: d,e f , a",
        )
        play.ask()
        [[(stored, _)]] = play.kept.values()
        self.assertEqual(stored.tags, (b"a", b"b", b"c", b"d", b"e f"))

    def test_negative_rules(self) -> None:
        self.assertTrue(self.hit(status=503, negative={503: 5.0}))
        self.assertFalse(self.hit(status=502, negative={503: 5.0}))
        self.assertTrue(self.hit(status=404, negative={404: 5.0}, default_ttl=0.5))
        self.assertFalse(self.hit(b"Cache-Control: no-store", status=503, negative={503: 5.0}))
        self.assertFalse(self.hit(b"Cache-Control: max-age=0", status=503, negative={503: 5.0}))

    def test_default_ttl_speaks_only_for_the_silent(self) -> None:
        self.assertTrue(self.hit(default_ttl=60))
        self.assertFalse(self.hit(default_ttl=60, status=500))
        self.assertFalse(self.hit(b"Pragma: no-cache", default_ttl=60))
        for value in (b"no-store", b"private", b"no-cache", b"max-age=0", b"s-maxage=0"):
            self.assertFalse(self.hit(b"Cache-Control: " + value, default_ttl=60), value)
        self.assertFalse(self.hit(b"Expires: 0", default_ttl=60))
        self.assertTrue(self.hit(b"Cache-Control: foo", b"Pragma: no-cache", default_ttl=60))
