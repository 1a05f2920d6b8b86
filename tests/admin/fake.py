"""A steward that remembers what it was asked."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed

from txrproxy.admin.steward import Unknown
from txrproxy.transport.channel import Body, Refused

BACKEND = {"id": "10.0.0.1:80", "state": "up", "weight": 1}


class FakeSteward:
    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.why = ""
        self.reloading: Deferred[Body] = succeed({"ok": True})

    def not_ready(self) -> str:
        return self.why

    def metrics(self, accept: str) -> Any:
        self.asked.append(("metrics", accept))
        return succeed((b"txrproxy_ready 1\n", "text/plain; version=0.0.4"))

    def status(self) -> Any:
        raise RuntimeError("of the inside")

    def config(self) -> Body:
        return {"version": 1}

    def routes(self) -> Body:
        return {"routes": []}

    def pools(self) -> Any:
        return succeed({"pools": [{"name": "app", "panic": False, "backends": [BACKEND]}]})

    def set_backend(self, *asked: Any) -> Any:
        self.asked.append(asked)
        return BACKEND

    def caches(self) -> Any:
        return {"caches": [{"name": "main", "size": 1}]}

    def entries(self, *asked: Any) -> Any:
        self.asked.append(asked)
        if asked[0] != "main":
            raise Unknown(f"no cache {asked[0]!r}", ["main"])
        return {"entries": []}

    def purge(self, *asked: Any) -> Any:
        self.asked.append(asked)
        return {"count": 1, "size": 2}

    def reload(self) -> Any:
        return self.reloading

    def log_level(self) -> Body:
        raise Refused("the log is another's")

    def set_log_level(self, level: str) -> Body:
        return {"level": level}
