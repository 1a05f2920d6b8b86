"""A pool knows its backends, and the names by which a response may give them away."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.balance.backend import Backend
from txrproxy.balance.pool import Pool


class PoolTests(SynchronousTestCase):
    def test_pool(self) -> None:
        backends = [Backend(b"a", b"a"), Backend(b"b", b"b")]
        pool = Pool(b"app", backends)
        self.assertEqual(pool.backends, tuple(backends))
        self.assertEqual([pool.select() for _ in range(3)], [*backends, backends[0]])
        self.assertEqual((pool.attempts, repr(pool)), (3, "<Pool app of 2>"))

    def test_own_addresses(self) -> None:
        names = (b"App.Internal", b"10.0.0.1:8080", b"[fd00::1]:81", b"[fd00::2]", b"odd:name")
        pool = Pool(b"app", [Backend(name, name) for name in names], aliases=[b"alias:8000"])
        self.assertEqual(
            pool.own,
            {
                b"app.internal",
                b"10.0.0.1:8080",
                b"[fd00::1]:81",
                b"[fd00::2]",
                b"odd:name",
                b"alias:8000",
            },
        )
        self.assertEqual(
            pool.own_hosts,
            {b"app.internal", b"10.0.0.1", b"[fd00::1]", b"[fd00::2]", b"odd:name", b"alias"},
        )
