"""Pools as all processes together see them: for ``txrproxy pools``, and for the admin API.

The board (:mod:`txrproxy.service.board`) knows what state backends are in, and the workers what
they carry there, which is added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from txrproxy.transport.channel import Body

PATIENCE = 3.0  # seconds that a worker has to answer

_ADDED = ("active", "idle", "waiting")


class Processes(Protocol):
    """What is asked of a :class:`~txrproxy.service.master.Master`."""

    @property
    def board(self) -> Any: ...

    def ask(self, topic: str, *, timeout: float) -> Deferred[Any]: ...


def pools(master: Processes) -> Deferred[Body]:
    """``pools``: each with its ``name``, ``panic`` and ``backends``.

    Of a backend, beside what the board reports: ``id``; ``ejected``, and for how many seconds yet,
    ``ejected_for``; ``active`` and ``idle`` connections and ``waiting`` requests of all workers;
    ``available``, whether all of them give it requests (None where none has told).
    """
    report: Sequence[Body] = master.board.report()

    def told(answers: Iterable[tuple[object, Body]]) -> Body:
        seen = [body["pools"] for _, body in answers if "pools" in body]
        return {"pools": [_with_traffic(pool, seen) for pool in report]}

    return master.ask("pools", timeout=PATIENCE).addCallback(told)


def _with_traffic(pool: Body, workers: Iterable[Sequence[Body]]) -> Body:
    backends = {row["name"]: _row(row) for row in pool["backends"]}
    for pools in workers:
        for seen in pools:
            if seen["name"] != pool["name"]:
                continue
            for each in seen["backends"]:
                known = backends.get(each["id"])
                if known is not None:
                    for key in _ADDED:
                        known[key] += each[key]
                    known["available"] = each["available"] and known["available"] is not False
    return {**pool, "backends": list(backends.values())}


def _row(reported: Body) -> Body:
    row = {"id": reported["name"], **reported}
    del row["name"]
    left = row["ejected"]
    return {
        **row,
        "ejected": left is not None,
        "ejected_for": left,
        "available": None,
        **dict.fromkeys(_ADDED, 0),
    }
