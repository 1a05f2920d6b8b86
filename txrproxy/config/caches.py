"""The stores of a graph: what starts, what goes over to the next one, and how they end.

With links, the main process owns the folders, and a store only attaches. Without, as in somebody
else's program, each store owns its folder, and answers ``txrproxy cache`` itself; where a reload
changes one, the next has to wait until the folder is free.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from txrproxy.cache.collapse import LOCK_TIMEOUT, Flights
from txrproxy.cache.control import Listening, listen
from txrproxy.cache.link import Links
from txrproxy.cache.store import Store
from txrproxy.config import schema

_logger = Logger()

Made = tuple[Store, Flights]


class Caches(dict[Any, Made]):
    """Each cache by its name: the store, and what is on its way into it."""

    def __init__(
        self, config: schema.Config, reactor: Any, deadlines: Any, links: Links | None
    ) -> None:
        super().__init__()
        self._config = config
        self._reactor = reactor
        self._deadlines = deadlines
        self._links = links
        self._listening: dict[Store, Listening] = {}
        self._leaving: dict[Store, Any] = {}  # of reloads; with the ends of their patience
        self._ended: list[Deferred[None]] = []

    def make(self, old: Caches | None) -> None:
        """Make all that the configuration says; one that has not changed is the old one.

        Nothing is opened before it starts.
        """
        for name, settings in self._config.caches.items():
            same = old is not None and old._config.base == self._config.base
            if old is not None and same and old._config.caches.get(name) == settings:
                self[name] = old[name]
            else:
                self[name] = self._make(name, settings)

    def _make(self, name: Any, settings: schema.Cache) -> Made:
        store = Store(
            str(self._config.resolve(settings.path)),
            max_size=settings.max_size,
            max_object=settings.max_object,
            memory=settings.memory,
            clock=self._reactor,
            deliver=self._reactor.callFromThread,
            name=f"cache {name}",
            links=self._links,
        )
        flights = Flights(
            self._deadlines,
            LOCK_TIMEOUT,
            store.threads,
            store.mark,
            store.unlease,
            store.touched,
        )
        return store, flights

    @property
    def _stores(self) -> list[Store]:
        return [store for store, _ in self.values()]

    def start(self) -> None:
        """Open all."""
        for store in self._stores:
            self._open(store)

    def take_over(self, old: Caches, timeout: float) -> None:
        """Take the place of ``old``. What is being filled there may end, within ``timeout``."""
        self._listening = old._listening
        self._leaving = old._leaving
        self._ended = [done for done in old._ended if not done.called]
        mine, theirs = self._stores, old._stores
        new = {store.folder.path: store for store in mine if store not in theirs}
        for store in theirs:
            if store not in mine:
                # Two owners of one folder have to come one after the other.
                follows = new.pop(store.folder.path, None) if self._links is None else None
                self._leave(store, timeout, follows)
        for store in new.values():
            self._open(store)

    def close(self) -> Deferred[Any]:
        """Let go of all; fires when what is whole is written. Blocks for folders of our own."""
        if self._links is None:
            ends = [listening.stopListening() for listening in self._listening.values()]
            for store in self._stores:
                store.close()
        else:
            ends = [*self._ended, *(self._finished(store) for store in self._stores)]
        leaving = dict(self._leaving)
        self._listening.clear()
        self._leaving.clear()
        for store, late in leaving.items():
            if late.active():
                late.cancel()
            store.give_up()
        return DeferredList(ends)

    def discard(self, old: Caches | None) -> None:
        """It will not start: forget what it does not share with ``old``."""
        kept = [] if old is None else old._stores
        for store in self._stores:
            if store not in kept:
                store.forget()

    def _open(self, store: Store) -> None:
        store.open(owned=lambda: self._answer(store))

    def _answer(self, store: Store) -> None:
        try:
            self._listening[store] = listen(store, self._reactor)
        except OSError as error:
            _logger.warn(
                "{name}: `txrproxy cache` can not ask: {error}", name=store.name, error=error
            )

    def _leave(self, store: Store, timeout: float, follows: Store | None) -> None:
        listening = self._listening.pop(store, None)
        if listening is not None:
            listening.stopListening()

        def left() -> None:
            late = self._leaving.pop(store, None)
            if late is None:
                return  # all ends
            if late.active():
                late.cancel()
            if follows is not None:
                self._open(follows)

        self._leaving[store] = self._reactor.callLater(timeout, store.give_up)
        self._ended.append(self._finished(store, left, patient=True))

    @staticmethod
    def _finished(
        store: Store, done: Callable[[], object] = lambda: None, patient: bool = False
    ) -> Deferred[None]:
        ended: Deferred[None] = Deferred()

        def finished() -> None:
            done()
            ended.callback(None)

        store.finish(finished, patient)
        return ended
