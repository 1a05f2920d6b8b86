"""The stores of a graph, over its life."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.cache.storing import put, response
from tests.scenarios.harness import Scenario
from txrproxy.cache.control import NoOwner, ask
from txrproxy.config.build import build
from txrproxy.config.toml import loads


class CachesTests(Scenario):
    """A program of its own: each store owns its folder."""

    def graph(self, caches: str, old: Any = None) -> Any:
        text = self.config("http://127.0.0.1:1", more=caches, server='drain_timeout = "60s"')
        return build(loads(text), reactor, old=old)

    def cache(self, memory: str = "1MiB", name: str = "c") -> str:
        return f'[caches.main]\npath = "{self.folder}/{name}"\nmemory = "{memory}"\n'

    def setUp(self) -> None:
        super().setUp()
        self.folder = os.path.abspath(self.mktemp())
        self.addCleanup(self.close)

    def close(self) -> Any:
        return self.last.close()

    async def begin(self) -> Any:
        self.last = graph = self.graph(self.cache())
        graph.start()
        store, _ = graph.caches["main"]
        await self.until(lambda: store.writer.storing, "the store")
        return graph, store

    async def test_kept(self) -> None:
        graph, store = await self.begin()
        self.last = self.graph(self.cache(), graph)
        self.last.take_over(graph)
        self.assertIs(self.last.caches["main"][0], store)
        self.assertTrue(store.writer.storing)

    async def test_changed(self) -> None:
        """The next store has the folder when what the one before fills is in its place."""
        graph, store = await self.begin()
        fill = store.fill(response(), 5)
        self.last = self.graph(self.cache("2MiB"), graph)
        self.last.take_over(graph)
        new, _ = self.last.caches["main"]
        self.assertFalse(store.writer.storing or new.writer.storing)
        fill.write(b"hello")
        self.assertIsNotNone(fill.commit())
        await self.until(lambda: new.writer.storing, "the next store")
        self.assertEqual(new.owner.counts.stored, 0)
        self.assertIsNotNone(put(new, response(b"b"), b"hello"))

    async def test_changed_and_ended(self) -> None:
        """What is not whole at the end is given up."""
        graph, store = await self.begin()
        fill = store.fill(response(), 5)
        self.last = self.graph(self.cache("2MiB"), graph)
        self.last.take_over(graph)
        self.last.close()
        self.assertFalse(fill.alive)

    async def test_removed(self) -> None:
        graph, store = await self.begin()
        self.last = self.graph("", graph)
        self.last.take_over(graph)
        path = f"{self.folder}/c"

        def free() -> bool:
            try:
                ask(path, {"ask": "stats"})
            except (NoOwner, OSError):
                return False
            return True

        await self.until(lambda: not store.owner.ready, "the end of the store")
        await self.until(free, "the folder to be free")


class DiscardTests(TestCase):
    def test_never_started(self) -> None:
        """A graph that is not to serve leaves no links behind."""
        from txrproxy.cache.link import Links

        class Channel:
            def register(self, *_: object) -> None:
                pass

        links = Links(Channel(), reactor)  # type: ignore[arg-type]
        text = Scenario().config("http://127.0.0.1:1", more='[caches.main]\npath = "x"\n')
        graph = build(loads(text), reactor, links=links)
        self.assertEqual(len(links._links), 1)
        graph.caches.discard(graph.caches)
        self.assertEqual(len(links._links), 1)
        graph.caches.discard(None)
        self.assertEqual(links._links, {})
