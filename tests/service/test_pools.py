"""Pools as all processes see them. Whole processes: ``tests.test_control``."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.service.pools import pools
from txrproxy.transport.channel import Body

ONE, TWO = "10.0.0.1:80", "10.0.0.2:80"


def reported(name: str, ejected: float | None = None) -> Body:
    return {"name": name, "state": "up", "weight": 1, "healthy": True, "ejected": ejected}


def carried(name: str, active: int, idle: int, waiting: int, available: bool = True) -> Body:
    numbers = {"active": active, "idle": idle, "waiting": waiting}
    return {"id": name, **numbers, "available": available}


class FakeMaster:
    def __init__(self, *answers: Any) -> None:
        self.board: Any = self
        self._answers = answers

    def report(self) -> list[Body]:
        return [
            {"name": "app", "panic": False, "backends": [reported(ONE), reported(TWO, 2.5)]},
            {"name": "next", "panic": True, "backends": []},
        ]

    def ask(self, topic: str, *, timeout: float) -> Deferred[Any]:
        assert topic == "pools"
        return succeed([(n, answer) for n, answer in enumerate(self._answers)])


def worker(*rows: Body) -> Body:
    """What one answers; it still has a pool that is gone."""
    gone = {"name": "gone", "backends": [carried(ONE, 9, 9, 9)]}
    return {"pools": [gone, {"name": "app", "backends": list(rows)}]}


class PoolsTests(SynchronousTestCase):
    def pools(self, *answers: Any) -> Any:
        return self.successResultOf(pools(FakeMaster(*answers)))["pools"]

    def test_added_up(self) -> None:
        app, other = self.pools(
            worker(carried(ONE, 2, 1, 0), carried(TWO, 0, 0, 0, False)),
            {"error": "late"},
            worker(carried(ONE, 3, 0, 4), carried(TWO, 0, 1, 0), carried("gone:1", 7, 7, 7)),
        )
        self.assertEqual(other, {"name": "next", "panic": True, "backends": []})
        one, two = app["backends"]
        self.assertEqual((one["id"], one["ejected"], one["ejected_for"]), (ONE, False, None))
        self.assertEqual(one, one | carried(ONE, 5, 1, 4))
        self.assertEqual((two["id"], two["ejected"], two["ejected_for"]), (TWO, True, 2.5))
        self.assertEqual(two, two | carried(TWO, 0, 1, 0, False))
        self.assertNotIn("name", one)

    def test_nobody_tells(self) -> None:
        app, _ = self.pools()
        backend = app["backends"][0]
        self.assertEqual((backend["active"], backend["available"]), (0, None))
