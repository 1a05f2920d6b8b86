"""What a cache has for a request, looked up in its folder without changing anything there."""

from __future__ import annotations

import os
from typing import Any

from attrs import frozen

from txrproxy.cache.disk import Folder
from txrproxy.cache.jobs import Inline
from txrproxy.cache.key import KeyMaker, absolute_url, variant
from txrproxy.cache.policy import Demand, Rules, for_request, reuse
from txrproxy.cache.reading import Reader
from txrproxy.explain.rehearsal import Outcome
from txrproxy.http.peer import believed_scheme


@frozen
class Lookup:
    """How a request meets a cache. ``why_not`` is empty where the cache is asked.

    ``stored`` says what there is: how old, for how long, and what is done with it; None where there
    is nothing, and ``problem`` where nobody can tell.
    """

    key: bytes
    url: bytes
    why_not: str
    stored: dict[str, Any] | None = None
    problem: str = ""


def look_up(outcome: Outcome, path: str, keys: KeyMaker, rules: Rules, now: float) -> Lookup:
    """What the cache in the folder ``path`` has for a request; ``now`` is unix time."""
    head = outcome.head
    assert head is not None
    demand = for_request(head, rules)
    scheme = outcome.ask.scheme.encode("ascii")
    if outcome.trusted:
        scheme = believed_scheme(head.fields) or scheme
    target = head.target.origin
    url = absolute_url(scheme, head.authority, target)
    if not demand.lookup:
        words = [word.decode() for word in (demand.fwd, demand.detail) if word]
        return Lookup(b"", url, ", ".join(words))
    key = keys.key(scheme, head.authority, target, head.fields, outcome.trusted)
    objects = Folder(path).objects
    there = os.path.isdir(path)
    if there and not os.access(objects if os.path.isdir(objects) else path, os.R_OK | os.X_OK):
        return Lookup(key, url, "", problem=f"{path} can not be read by this user")
    return Lookup(key, url, "", _stored(path, key, head.fields, demand, rules, now))


def _stored(
    path: str, key: bytes, fields: Any, demand: Demand, rules: Rules, now: float
) -> dict[str, Any] | None:
    reader = Reader(Folder(path), Inline(), lambda name, fd, error: None)
    copy, _ = reader.wait(key, fields, variant)
    if copy is None:
        return None
    try:
        stored = copy.stored
        use = reuse(stored, demand, now, rules)
    finally:
        copy.close()
    return {
        "verdict": use.verdict.value,
        "age": round(use.age),
        "ttl": round(use.ttl),
        "status": stored.head.status,
        "length": stored.length,
        "invalidated": stored.invalidated,
        "vary": [name.decode("latin-1") for name in stored.vary],
    }
