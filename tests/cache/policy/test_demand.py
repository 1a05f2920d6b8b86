"""What requests ask of a cache; each directive is in ``test_rfc9111_reuse``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.cache.play import request
from txrproxy.cache.policy.demand import PLAIN, for_request, satisfied
from txrproxy.cache.policy.rules import Rules

RULES = Rules()


class DemandTests(SynchronousTestCase):
    def test_plain(self) -> None:
        head = request(b"User-Agent: x", b"Cookie: a=b", b"Accept: */*")
        self.assertIs(for_request(head, RULES), PLAIN)
        self.assertTrue(PLAIN.lookup and PLAIN.stores and PLAIN.plain and not PLAIN.invalidates)

    def test_whole(self) -> None:
        for line, whole in (
            (b"Cache-Control: max-age=5", True),
            (b'If-None-Match: "a"', False),
            (b"Range: bytes=0-1", False),
        ):
            self.assertIs(for_request(request(line), RULES).whole, whole, line)

    def test_what_stands_for_the_path_is_not_for_a_cache(self) -> None:
        """In no spelling that a backend may take for it."""
        for name in (b"X-Original-URL", b"X_Original_URL", b"X.Rewrite.Url", b"x_host"):
            demand = for_request(request(name + b": x"), RULES)
            self.assertEqual((demand.lookup, demand.detail), (False, b"override"), name)
        for name in (b"X_Hosts", b"X_Other", b"XHost"):
            self.assertIs(for_request(request(name + b": x"), RULES), PLAIN, name)

    def test_credentials(self) -> None:
        for line in (b"Authorization: Basic eDp5", b"X-Forwarded-Client-Cert: Hash=1"):
            self.assertTrue(for_request(request(line), RULES).authorized, line)

    def test_satisfied(self) -> None:
        demand = for_request(request(b"Cache-Control: no-cache, max-age=0, min-fresh=5"), RULES)
        left = satisfied(demand)
        self.assertEqual((left.no_cache, left.max_age, left.min_fresh), (False, None, 5.0))
        self.assertEqual((demand.no_cache, demand.max_age), (True, 0.0))

    def test_is_remembered_with_the_fields(self) -> None:
        head = request(b"Cache-Control: no-cache, max-age=5")
        first = for_request(head, RULES)
        self.assertIs(for_request(head, RULES), first)
        self.assertTrue(first.no_cache)
        deaf = for_request(head, Rules(obey_requests=False))
        self.assertFalse(deaf.no_cache or deaf.plain)
        self.assertIs(for_request(head, RULES), first)

    def test_methods(self) -> None:
        for method, lookup, stores, invalidates in (
            (b"GET", True, True, False),
            (b"HEAD", True, True, False),
            (b"OPTIONS", False, False, False),
            (b"TRACE", False, False, False),
            (b"POST", False, True, True),
            (b"PUT", False, False, True),
            (b"get", False, False, True),
        ):
            one = for_request(request(method=method), RULES)
            self.assertEqual(
                (one.lookup, one.stores, one.invalidates), (lookup, stores, invalidates), method
            )

    def test_says_what_it_is(self) -> None:
        self.assertEqual(
            repr(for_request(request(b"Range: bytes=0-1"), RULES)),
            "<Demand {'lookup': True, 'ranged': True, 'stores': True}>",
        )

    def test_a_method_alone_decides_of_a_body(self) -> None:
        head = request(b"Content-Length: 5", method=b"POST")
        self.assertEqual(for_request(head, RULES).fwd, b"method")
