"""Who may ask."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.admin.guard import Denied, Guard, host_of


class Case(SynchronousTestCase):
    def denied(self, call: Callable[[], object]) -> int:
        return self.assertRaises(Denied, call).status


class Host(Case):
    guard = Guard(hosts=["admin.example", "*.inner.example"])

    def test_addresses_and_known_names(self) -> None:
        for value in (
            *("127.0.0.1", "127.0.0.1:9900", "[::1]", "[::1]:9900", "192.0.2.1", "localhost"),
            *("LOCALHOST:1", "localhost.", "admin.example:9900", "a.inner.example", "localhost:"),
        ):
            self.guard.host([value])

    def test_names_of_strangers(self) -> None:
        for value in (
            *("evil.example", "localhost.evil.example", "inner.example", "127.0.0.1.evil.example"),
            *("admin.example.evil", "", "[::1", "localhost:80x", "a@localhost", "[::1]evil"),
        ):
            self.assertEqual(self.denied(lambda value=value: self.guard.host([value])), 403, value)

    def test_exactly_one(self) -> None:
        for values in ([], ["localhost", "localhost"]):
            self.assertEqual(self.denied(lambda values=values: self.guard.host(values)), 400)

    def test_where_no_browser_comes(self) -> None:
        Guard(any_host=True).host([])

    def test_host_of(self) -> None:
        self.assertEqual(host_of("A.example.:80"), "a.example")
        self.assertEqual(host_of("[FE80::1]:80"), "fe80::1")


class Origin(Case):
    def test_own_pages_and_programs(self) -> None:
        Guard.origin([], [], "localhost:9900")
        Guard.origin(["http://localhost:9900"], ["same-origin"], "localhost:9900")
        Guard.origin(["https://LOCALHOST:9900"], ["none"], "localhost:9900")

    def test_pages_of_strangers(self) -> None:
        for origin in ("http://evil.example", "null", "http://localhost", "http://localhost:1"):
            call = self.denied(lambda o=origin: Guard.origin([o], [], "localhost:9900"))
            self.assertEqual(call, 403, origin)
        for site in ("cross-site", "same-site", "x"):
            call = self.denied(lambda s=site: Guard.origin([], [s], "localhost:9900"))
            self.assertEqual(call, 403, site)


class Token(Case):
    guard = Guard(b"s3cret")

    def test_right(self) -> None:
        for value in (b"Bearer s3cret", b"bearer s3cret", b"Bearer  s3cret "):
            self.guard.bearer([value])

    def test_wrong(self) -> None:
        for values in (
            [],
            [b""],
            [b"Bearer"],
            [b"Bearer "],
            [b"Bearer s3cre"],
            [b"Bearer s3cret2"],
            [b"Bearer \xff"],
            [b"Basic s3cret"],
            [b"s3cret"],
            [b"Bearer s3cret", b"Bearer s3cret"],
        ):
            self.assertEqual(self.denied(lambda values=values: self.guard.bearer(values)), 401)

    def test_none_is_asked_for(self) -> None:
        Guard().bearer([])

    def test_compared_in_constant_time(self) -> None:
        seen = []
        from txrproxy.admin import guard

        compare = guard.hmac.compare_digest

        def watched(a: bytes, b: bytes) -> bool:
            seen.append((a, b))
            return compare(a, b)

        self.patch(guard.hmac, "compare_digest", watched)
        self.denied(lambda: self.guard.bearer([b"Bearer no"]))
        self.assertEqual(seen, [(b"no", b"s3cret")])
