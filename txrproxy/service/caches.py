"""The main process's part of caches: it owns their folders, for the workers that fill them.

A folder is taken when the first store attaches, and given up some seconds after the last has gone:
so it follows the workers through reloads, whatever those change.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from txrproxy.cache.keeper import Answer, Keeper
from txrproxy.cache.link import TOPIC
from txrproxy.service.master import Master
from txrproxy.service.processes import Handle
from txrproxy.transport.channel import Body


class Keepers:
    """Who keeps each folder, by its path."""

    def __init__(self, master: Master, reactor: Any) -> None:
        self._reactor = reactor
        self._keepers: dict[str, Keeper] = {}
        self._closed = False
        master.register(TOPIC, self._told)
        master.when_ended.append(self._gone)

    def get(self, path: str) -> Keeper | None:
        """Who keeps a folder, if anybody does."""
        return self._keepers.get(path)

    def _told(self, worker: Handle, body: Body) -> Answer:
        path = body["path"]
        keeper = self._keepers.get(path)
        if keeper is None:
            if body["do"] != "attach" or self._closed:
                return {"error": ["NotReady", None, ""]}
            keeper = self._keepers[path] = Keeper(
                path, body["size"], body["name"], self._reactor, self._over
            )
            keeper.open()
        return keeper.told(worker, worker.channel, body)

    def _over(self, keeper: Keeper) -> None:
        if self._keepers.get(keeper.folder.path) is keeper:
            del self._keepers[keeper.folder.path]

    def _gone(self, worker: Handle) -> None:
        for keeper in list(self._keepers.values()):
            keeper.gone(worker)

    def close(self) -> Deferred[Any]:
        """Give up all folders; fires when what the workers have finished is in its place."""
        self._closed = True
        return DeferredList([keeper.close() for keeper in self._keepers.values()])
