from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.filters.cors import Cors
from txrproxy.http.fields import Line

APP = b"https://app.example"


def text(lines: tuple[Line, ...] | None) -> dict[bytes, bytes] | None:
    return None if lines is None else {line[0]: line[1] for line in lines}


def allowed(origin: bytes, *origins: bytes, **more: Any) -> bytes | None:
    found = text(Cors(origins, **more).lines(origin))
    assert found is not None
    return found.get(b"access-control-allow-origin")


class CorsTests(SynchronousTestCase):
    def test_origins(self) -> None:
        for origin, known, answer in (
            (APP, APP, APP),
            (b"https://app.example:8443", APP, None),
            (b"http://app.example", APP, None),
            (b"null", APP, None),
            (b"", APP, None),
            (b"https://a.b.example.com", b"https://*.example.com", b"https://a.b.example.com"),
            (b"https://example.com", b"https://*.example.com", None),
            (b"https://evil.com/.example.com", b"https://*.example.com", None),
            (b"https://evilexample.com", b"https://*.example.com", None),
            (b"https://a.example.com.evil", b"https://*.example.com", None),
            (b"https://aXexample.com", b"https://*.example.com", None),
            (APP, b"HTTPS://APP.example", APP),
            (APP, b"*", b"*"),
            (b"", b"*", None),
        ):
            self.assertEqual(allowed(origin, known), answer, (origin, known))

    def test_caches_know(self) -> None:
        for origin in (APP, b"", b"https://other.example"):
            found = text(Cors([APP]).lines(origin))
            assert found is not None
            self.assertEqual(found[b"vary"], b"Origin")
        self.assertEqual(text(Cors([b"*"]).lines(APP)), {b"access-control-allow-origin": b"*"})
        self.assertEqual(Cors([b"*"]).lines(b""), ())

    def test_response(self) -> None:
        found = text(Cors([APP], expose=[b"X-A", b"X-B"], credentials=True).lines(APP))
        self.assertEqual(
            found,
            {
                b"vary": b"Origin",
                b"access-control-allow-origin": APP,
                b"access-control-expose-headers": b"X-A, X-B",
                b"access-control-allow-credentials": b"true",
            },
        )

    def test_preflight(self) -> None:
        rules = Cors([APP], [b"PUT"], [b"X-Token"], max_age=60)
        self.assertEqual(
            text(rules.preflight(APP, b"PUT", [])),
            {
                b"vary": b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
                b"access-control-allow-origin": APP,
                b"access-control-allow-methods": b"PUT",
                b"access-control-max-age": b"60",
            },
        )
        found = text(rules.preflight(APP, b"PUT", [b"x-TOKEN"]))
        assert found is not None
        self.assertEqual(found[b"access-control-allow-headers"], b"x-TOKEN")
        self.assertIsNone(rules.preflight(b"https://other", b"PUT", []))
        self.assertIsNone(rules.preflight(APP, b"GET", []))
        self.assertIsNone(rules.preflight(APP, b"PUT", [b"x-token, x-other"]))

    def test_preflight_for_all(self) -> None:
        rules = Cors([b"*"], headers=[b"*"])
        found = text(rules.preflight(APP, b"GET", [b"a, b"]))
        assert found is not None
        self.assertEqual(found[b"access-control-allow-origin"], b"*")
        self.assertEqual(found[b"access-control-allow-headers"], b"a, b")
        found = text(Cors([APP], credentials=True).preflight(APP, b"GET", []))
        assert found is not None
        self.assertEqual(found[b"access-control-allow-credentials"], b"true")

    def test_everyone_with_credentials(self) -> None:
        self.assertRaises(ValueError, Cors, [b"*"], credentials=True)
