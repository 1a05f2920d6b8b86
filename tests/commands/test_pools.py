"""``txrproxy pools``, against what the control socket says."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.test_control import command
from txrproxy import control
from txrproxy.transport.channel import Refused


def row(name: str, **given: Any) -> dict[str, Any]:
    same = {"id": name, "state": "up", "weight": 1, "priority": 0, "healthy": True}
    traffic = {"active": 0, "idle": 0, "waiting": 0, "available": True}
    return {**same, "ejected": False, "ejected_for": None, "check": None, **traffic, **given}


POOLS = {
    "pools": [
        {
            "name": "app",
            "panic": False,
            "backends": [
                row("10.0.0.1:80", active=12, idle=3, waiting=1),
                row("10.0.0.2:80", state="drain", weight=3, healthy=None),
                row("10.0.0.3:80", healthy=False, check={"passed": False, "text": "refused"}),
                row("10.0.0.4:80", ejected=True, ejected_for=2.6),
            ],
        },
        {"name": "next", "panic": True, "backends": [row("10.0.1.1:80", healthy=False)]},
    ]
}

TABLE = """\
pool  backend      state  weight  active  idle  waiting  health
app   10.0.0.1:80  up     1       12      3     1        well
      10.0.0.2:80  drain  3       0       0     0        not checked yet
      10.0.0.3:80  up     1       0       0     0        unhealthy: refused
      10.0.0.4:80  up     1       0       0     0        ejected for 3 s
next                                                     too few are well: health is ignored
      10.0.1.1:80  up     1       0       0     0        unhealthy
"""


class PoolsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.asked: list[Any] = []

        def call(folder: str, topic: str, timeout: float, body: Any = None) -> Any:
            self.asked.append((folder, topic, body))
            if body is not None and body["backend"] == "gone":
                raise Refused("no such backend")
            return POOLS if topic == "pools" else {"pool": "app"}

        self.patch(control, "call", call)

    def pools(self, *words: str) -> tuple[int, str, str]:
        return command("pools", *words, "--state-dir", "run")

    def test_list(self) -> None:
        self.assertEqual(self.pools("ls"), (0, TABLE, ""))
        status, out, _ = self.pools("ls", "next")
        self.assertEqual((status, len(out.splitlines())), (0, 3))
        status, out, _ = self.pools("ls", "--json")
        self.assertEqual(json.loads(out), POOLS)
        status, _, err = self.pools("ls", "other")
        self.assertEqual((status, err), (1, "no pool named other; there are: app, next\n"))

    def test_set(self) -> None:
        for words, state, weight, said in (
            (("drain", "app", "10.0.0.1:80"), "drain", None, "app 10.0.0.1:80: drain\n"),
            (("up", "app", "10.0.0.1:80"), "up", None, "app 10.0.0.1:80: up\n"),
            (("down", "app", "10.0.0.1:80"), "down", None, "app 10.0.0.1:80: down\n"),
            (("weight", "app", "10.0.0.1:80", "0"), None, 0, "app 10.0.0.1:80: weight 0\n"),
        ):
            self.assertEqual(self.pools(*words), (0, said, ""))
            body = {"pool": "app", "backend": "10.0.0.1:80", "state": state, "weight": weight}
            self.assertEqual(self.asked.pop(), ("run", "backend", body))
        status, out, _ = self.pools("up", "app", "10.0.0.1:80", "--json")
        self.assertEqual((status, json.loads(out)), (0, {"ok": True, "pool": "app"}))

    def test_refused(self) -> None:
        self.assertEqual(self.pools("up", "app", "gone"), (1, "", "no such backend\n"))
        for weight in ("-1", "x", "65536", "\u0663"):
            with self.assertRaises(SystemExit) as caught:
                self.pools("weight", "app", "10.0.0.1:80", weight)
            self.assertEqual(caught.exception.code, 2)
