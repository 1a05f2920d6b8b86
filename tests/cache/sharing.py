"""A keeper and the stores of several "processes" of this one, without threads."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from txrproxy.cache.jobs import Inline
from txrproxy.cache.keeper import Keeper
from txrproxy.cache.link import TOPIC, Links
from txrproxy.cache.store import Store
from txrproxy.transport.channel import local_pair


class Loop(Clock):
    """A clock that calls at once what comes from threads, and listens nowhere."""

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        call(*arguments)

    def adoptStreamPort(self, *_: Any) -> Any:
        return self

    def stopListening(self) -> None:
        pass


class Process:
    """One that is not the main one. ``deaf``: it does not hear what the main process says."""

    def __init__(self, name: str, keeper: Keeper, loop: Loop) -> None:
        self.name = name
        self.deaf = False
        self.calls: list[dict[str, Any]] = []  # from the main process
        ours, theirs = local_pair()
        ours.register(TOPIC, lambda body: keeper.told(self, ours, body))
        self.links = Links(self, loop)
        self._channel = theirs
        theirs.register(TOPIC, self._hear)

    def __str__(self) -> str:
        return self.name

    def register(self, topic: str, callback: Any) -> None:
        self._callback = callback

    def send(self, topic: str, body: dict[str, Any]) -> None:
        self._channel.send(topic, body)

    def call(self, topic: str, body: dict[str, Any]) -> Deferred[dict[str, Any]]:
        return self._channel.call(topic, body)

    def _hear(self, body: dict[str, Any]) -> Any:
        self.calls.append(body)
        return Deferred() if self.deaf else self._callback(body)


def make_keeper(path: str, loop: Loop, max_size: int = 64 << 20, **given: Any) -> Keeper:
    given = {"owner_thread": Inline(), "reader_threads": Inline()} | given
    keeper = Keeper(path, max_size, "cache test", loop, **given)
    keeper.open()
    while keeper.store.owner.step():
        pass
    return keeper


def attach(process: Process, path: str, loop: Loop, **given: Any) -> Store:
    values: dict[str, Any] = {"max_size": 64 << 20, "max_object": 32 << 20, "memory": 1 << 20}
    values |= {"owner_thread": Inline(), "reader_threads": Inline()}
    store = Store(
        path,
        **values | given,
        clock=loop,
        deliver=loop.callFromThread,
        name="cache test",
        links=process.links,
    )
    store.open()
    return store
