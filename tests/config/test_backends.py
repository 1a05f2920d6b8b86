"""Pools alone, for who serves nobody; ``tests/scenarios`` has them at work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from txrproxy.balance.backend import State
from txrproxy.balance.pool import STATE
from txrproxy.config.backends import Backends, build_backends
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import loads

APP, OTHER = (
    f'[pools.{name}]\nbackends = ["http://127.0.0.1:{port}"]\nhealth = {{ interval = "5s" }}\n'
    for name, port in (("a", 1), ("b", 2))
)


class BackendsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.base = Path(self.mktemp())
        self.heard: list[tuple[bytes, str]] = []

    def build(self, more: str, old: Backends | None = None) -> Backends:
        config = loads(MINIMAL + more, base=self.base)
        tell = lambda pool, event, backend: self.heard.append((pool.name, event))  # noqa: E731
        return build_backends(config, self.reactor, old, tell)

    def connects(self) -> list[int]:
        """The ports that were asked since."""
        found = sorted(client[1] for client in self.reactor.tcpClients)
        self.reactor.tcpClients.clear()
        return found

    def test_checked(self) -> None:
        backends = self.build(APP)
        ready = backends.ready()
        backends.start()
        self.reactor.advance(0.1)
        self.assertEqual(self.connects(), [1])
        self.assertNoResult(ready)
        self.reactor.advance(2)
        self.successResultOf(ready)
        pool = backends.pools["a"]
        pool.set_state(pool.backends[0], State.DRAIN, 0.0)
        self.assertEqual(self.heard, [(b"a", STATE)])
        backends.close()
        self.connects()
        self.reactor.advance(60)
        self.assertEqual(self.connects(), [])

    def test_follow(self) -> None:
        """What is alike goes over, the rest begins and ends."""
        old = self.build(APP + OTHER)
        old.start()
        self.reactor.advance(0.1)
        self.assertEqual(self.connects(), [1, 2])
        new = self.build(APP + OTHER.replace(":2", ":3"), old)
        new.follow(old)
        self.assertIs(new.pools["a"], old.pools["a"])
        self.assertIs(new.checkers[new.pools["a"]], old.checkers[old.pools["a"]])
        self.reactor.advance(0.1)
        self.assertEqual(self.connects(), [3])
        self.assertTrue(old.pools["b"].backends[0].connections.closed)
        for _ in range(100):
            self.reactor.advance(0.1)
        self.assertEqual(set(self.connects()), {1, 3})
        new.close()

    def test_what_can_not_be(self) -> None:
        tls = '[pools.c]\nbackends = ["https://127.0.0.1:1"]\ntls = { ca = "none.pem" }\n'
        error = self.assertRaises(ConfigErrors, self.build, tls)
        self.assertIn("pools.c.tls.ca", str(error))
