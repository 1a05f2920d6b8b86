from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.explain.samples import edge
from txrproxy.balance.backend import Backend, State
from txrproxy.config.graph import Graph
from txrproxy.explain.rehearsal import Ask, Rehearsal
from txrproxy.explain.running import apply, condition, states


def row(name: str, **given: Any) -> dict[str, Any]:
    same: dict[str, Any] = {"id": name, "state": "up", "weight": 1, "priority": 0}
    return {**same, "healthy": True, "ejected": False, "check": None, **given}


def answer(pool: str, *rows: dict[str, Any]) -> dict[str, Any]:
    return {"pools": [{"name": pool, "panic": False, "backends": list(rows)}]}


class RunningTests(SynchronousTestCase):
    def pool(self, name: str, *rows: dict[str, Any]) -> Any:
        known = states(answer(name, *rows))
        graphs: list[Graph] = []

        def prepare(graph: Graph) -> None:
            apply(known, graph)
            graphs.append(graph)

        self.rehearsal = Rehearsal(edge(), prepare)
        return next(p for p in graphs[0].pools.values() if p.name == name.encode())

    def test_states(self) -> None:
        pool = self.pool(
            "app", row("10.0.0.1:3000", ejected=True), row("10.0.0.2:3000", weight=5), row("gone:1")
        )
        one, two = pool.backends
        self.assertEqual((condition(one), condition(two)), ("ejected", "up"))
        self.assertEqual((two.weight, two.share), (5, 5.0))
        self.assertEqual(pool.candidates, (two,))
        found = self.rehearsal.play(Ask("GET", "http://example.com/static/a"), "inside")
        self.assertEqual(found.backend, "10.0.0.2:3000")

    def test_addresses_of_names(self) -> None:
        pool = self.pool("next", row("10.7.0.1:3000", state="drain"), row("[2001:db8::1]:3000"))
        self.assertEqual(
            [(b.name, b.state) for b in pool.backends],
            [(b"10.7.0.1:3000", State.DRAIN), (b"[2001:db8::1]:3000", State.UP)],
        )
        found = self.rehearsal.play(Ask("GET", "http://example.com/next"), "inside")
        self.assertEqual(found.backend, "[2001:db8::1]:3000")
        self.assertIn(b"Host: next.internal:3000\r\n", found.forwarded)

    def test_names_without_addresses(self) -> None:
        pool = self.pool("next", row("unix:/run/x"))
        self.assertEqual([b.name for b in pool.backends], [b"192.0.2.1:3000"])

    def test_conditions(self) -> None:
        for given, expected in (
            ({}, "up"),
            ({"state": State.DOWN, "healthy": False}, "down"),
            ({"weight": 0}, "weight 0"),
            ({"healthy": None}, "not checked yet"),
            ({"healthy": False, "ejected": True}, "unhealthy"),
        ):
            backend = Backend(b"a", b"a")
            for name, value in given.items():
                setattr(backend, name, value)
            self.assertEqual(condition(backend), expected)
