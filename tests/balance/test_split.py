"""A split gives each pool its share, and a sticky client always the same one."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.balance.backend import Backend, State
from txrproxy.balance.pool import Pool
from txrproxy.balance.split import Split
from txrproxy.balance.sticky import Sticky
from txrproxy.http.head import RequestHead, parse_request_head


def head(cookie: bytes = b"") -> RequestHead:
    line = b"\r\nCookie: " + cookie if cookie else b""
    return parse_request_head(b"GET / HTTP/1.1\r\nHost: a" + line)


class SplitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pools = [Pool(name, [Backend(name, name)]) for name in (b"app", b"next", b"off")]
        self.app, self.next, self.off = self.pools
        self.split = Split(self.pools, [95, 5, 0])

    def stick(self, *pools: Pool) -> None:
        for pool in pools:
            pool.sticky = Sticky(b"txr", b"secret", pool)
        self.split = Split(self.pools, [95, 5, 0])

    def down(self, pool: Pool) -> None:
        pool.set_state(pool.backends[0], State.DOWN, 0.0)

    def cookie(self, pool: Pool) -> bytes:
        return b"txr=" + pool.backends[0].token

    def test_shares(self) -> None:
        found = Counter(self.split.choose(head()) for _ in range(1000))
        self.assertEqual(found, {self.app: 950, self.next: 50})

    def test_smooth(self) -> None:
        """The canary's share does not come in one piece."""
        turns = [self.split.choose(head()) for _ in range(100)]
        at = [index for index, pool in enumerate(turns) if pool is self.next]
        self.assertEqual([b - a for a, b in pairwise(at)], [20] * 4)

    def test_start(self) -> None:
        turns = [Split(self.pools, [1, 1, 0], start).choose(head()) for start in (0.0, 0.5)]
        self.assertEqual(turns, [self.app, self.next])

    def test_sticky(self) -> None:
        """The pool that the cookie came from, if it is in the split and has anybody."""
        self.stick(*self.pools)
        for pool in (self.app, self.next):
            found = {self.split.choose(head(self.cookie(pool))) for _ in range(100)}
            self.assertEqual(found, {pool})
        for cookie in (b"", b"txr=nobody", self.cookie(self.off)):
            found = {self.split.choose(head(cookie)) for _ in range(100)}
            self.assertEqual(found, {self.app, self.next}, cookie)
        self.down(self.next)
        self.assertIs(self.split.choose(head(self.cookie(self.next))), self.app)

    def test_some_sticky(self) -> None:
        """Clients would stay with those, and all end up there."""
        self.stick(self.next)
        found = Counter(self.split.choose(head(self.cookie(self.next))) for _ in range(1000))
        self.assertEqual(found[self.next], 50)

    def sick(self, pool: Pool, healthy: bool = False) -> None:
        pool.set_health(pool.backends[0], healthy, 0.0)

    def test_a_pool_that_checks_find_bad_is_passed_over(self) -> None:
        """Though it would panic."""
        self.stick(*self.pools)
        self.sick(self.next)
        self.assertEqual({self.split.choose(head()) for _ in range(100)}, {self.app})
        self.assertIs(self.split.choose(head(self.cookie(self.next))), self.app)
        self.sick(self.next, healthy=True)
        self.assertIs(self.split.choose(head(self.cookie(self.next))), self.next)

    def test_a_small_one_does_not_get_what_a_large_one_had(self) -> None:
        self.sick(self.app)
        found = Counter(self.split.choose(head()) for _ in range(100))
        self.assertEqual(found[self.next], 5)
        self.sick(self.next)
        found = Counter(self.split.choose(head()) for _ in range(100))
        self.assertEqual(found[self.next], 5)
        self.down(self.app)
        self.assertEqual({self.split.choose(head()) for _ in range(100)}, {self.next})

    def test_a_pool_without_backends_is_passed_over(self) -> None:
        self.down(self.next)
        self.assertEqual({self.split.choose(head()) for _ in range(100)}, {self.app})
        self.down(self.app)
        self.assertEqual({self.split.choose(head()) for _ in range(100)}, {self.app, self.next})
