"""What a proxy that runs knows of its backends, for a rehearsal to begin with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from txrproxy.balance.backend import Backend, State
from txrproxy.balance.pool import Pool
from txrproxy.config.graph import Graph
from txrproxy.names.lookup import Target
from txrproxy.names.members import Members

#: By pool and name of a backend: a row of the topic ``pools`` of the control socket.
States = Mapping[str, Mapping[str, Mapping[str, Any]]]


def states(answer: Mapping[str, Any]) -> States:
    """What the proxy says to ``pools``, by name."""
    return {pool["name"]: {row["id"]: row for row in pool["backends"]} for pool in answer["pools"]}


def apply(known: States, graph: Graph) -> None:
    """Let the pools of a graph be as the proxy says that its own are; unknown backends stay."""
    for name, pool in graph.pools.items():
        rows = known.get(str(name), {})
        if name in graph.names and rows:
            configured = {backend.name.decode("latin-1") for backend in pool.backends}
            _members(graph.names[name], [row for row in rows if row not in configured])
        for backend in pool.backends:
            row = rows.get(backend.name.decode("latin-1"))
            if row is not None:
                _set(pool, backend, row)
        pool.refresh(0.0)


def _members(members: Members, found: Sequence[str]) -> None:
    """The addresses that the proxy has found behind names; it does not say behind which."""
    parts = [urlsplit(name if "://" in name else f"http://{name}") for name in found]
    targets = [
        Target(4 if "." in (one.hostname or "") else 6, packed, one.port or 0)
        for one in parts
        if (packed := _packed(one.hostname or ""))
    ]
    first = iter([targets])
    if targets:
        members.assume(lambda _: next(first, []))


def _packed(address: str) -> bytes:
    try:
        return ip_address(address).packed
    except ValueError:
        return b""


def _set(pool: Pool, backend: Backend, row: Mapping[str, Any]) -> None:
    backend.state = State(row["state"])
    backend.weight = row["weight"]
    backend.share = float(backend.weight)
    backend.healthy = row["healthy"]
    if row["ejected"] and pool.ejection is not None:
        backend.ejected = True
        backend.ejected_until = backend.trial_at = float("inf")


def condition(backend: Backend) -> str:
    """Why a backend gets requests or none, in a word."""
    if backend.state is not State.UP:
        return str(backend.state.value)
    if not backend.weight:
        return "weight 0"
    if backend.healthy is None:
        return "not checked yet"
    if not backend.healthy:
        return "unhealthy"
    return "ejected" if backend.ejected else "up"
