"""Runs every program of ``docs/embedding.md``, as it stands there but for ports and paths."""

import os
import re
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase

from tests.test_resource import answer
from tests.wires import Sockets, eventually
from txrproxy.config.build import build
from txrproxy.config.toml import load

PAGE = Path(__file__).parent.parent / "docs" / "embedding.md"


class DocTests(Sockets, TestCase):
    def setUp(self):
        text = PAGE.read_text()
        self.python = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
        self.toml = re.findall(r"^```toml\n(.*?)^```", text, re.M | re.S)
        self.backend = self.origin(answer())
        self.ports = []
        self.triggers = []
        folder = Path(self.mktemp())
        folder.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)

    def run_program(self, source):
        """Execute a program; ``self.ports`` are those that it listens on."""
        listen, trigger = reactor.listenTCP, reactor.addSystemEventTrigger

        def listen_anywhere(port, factory, backlog=50, interface=""):
            self.assertEqual((port, interface), (8080, "127.0.0.1"))
            made = listen(0, factory, interface=interface)
            self.addCleanup(made.stopListening)
            self.ports.append(made.getHost().port)
            return made

        def add_trigger(phase, event, callback):
            if callback.__module__ != "__main__":  # the reactor's own, for its threads
                return trigger(phase, event, callback)
            return self.triggers.append(callback)

        patches = [
            self.patch(reactor, "listenTCP", listen_anywhere),
            self.patch(reactor, "run", lambda: None),
            self.patch(reactor, "addSystemEventTrigger", add_trigger),
        ]
        source = re.sub(r"127\.0\.0\.1:900[01]", f"127.0.0.1:{self.backend.port}", source)
        namespace = {"__name__": "__main__"}
        exec(compile(source, str(PAGE), "exec"), namespace)
        for patch in patches:
            patch.restore()
        return namespace

    def program(self, mark):
        (found,) = [source for source in self.python if mark in source]
        return found

    def test_all_of_them(self):
        self.assertEqual((len(self.python), len(self.toml)), (7, 1))

    async def test_resource(self):
        names = self.run_program(self.program('root.putChild(b"api"'))
        self.addCleanup(names["pool"].close)
        (port,) = self.ports
        self.assertEqual((await self.ask(port, "GET / HTTP/1.1")).body, b"This page is yours.")
        self.assertEqual((await self.ask(port, "GET /api/x HTTP/1.1")).body, b"ok")

    async def test_options(self):
        names = self.run_program(self.program("Rewrite(strip_prefix"))
        self.addCleanup(names["pool"].close)
        self.assertTrue(names["resource"].isLeaf)

    async def test_cache(self):
        kept = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\n\r\nkept"
        self.backend = self.origin(answer(kept))
        names = self.run_program(self.program("response_cache("))
        self.addCleanup(names["pool"].close)
        (stop,) = self.triggers
        self.addCleanup(stop)
        (port,) = self.ports
        await eventually(lambda: names["cache"]._store.writer.storing)
        for said in (b"txrproxy; fwd=uri-miss; stored", b"txrproxy; hit"):
            response = await self.ask(port, "GET /x HTTP/1.1")
            self.assertEqual(response.body, b"kept")
            self.assertTrue(response.first(b"cache-status").startswith(said), response.fields)
        self.assertEqual(len(self.backend.wires[0].heads), 1)

    async def test_configuration_as_a_resource(self):
        names = self.run_program(self.program("graph.resource()"))
        self.addCleanup(names["graph"].close)
        (port,) = self.ports
        self.assertEqual((await self.ask(port, "GET /x HTTP/1.1")).body, b"ok")
        self.assertEqual((await self.ask(port, "GET /old/x HTTP/1.1")).status, 308)

    async def test_server(self):
        self.run_program(self.program("graph.sites"))
        (port,) = self.ports
        self.assertEqual((await self.ask(port, "GET /x HTTP/1.1")).body, b"ok")
        (stop,) = self.triggers
        await stop()
        self.assertIn('"route":"app"', Path("access.log").read_text().replace(": ", ":"))

    async def test_foreign_resources(self):
        source = self.program("# shop.py")
        Path("shop.py").write_text(source)
        Path("edge.toml").write_text(self.toml[0])
        self.patch(sys, "path", [os.getcwd(), *sys.path])
        self.addCleanup(sys.modules.pop, "shop", None)
        pool = ThreadPool(0, 1)
        pool.start()
        self.addCleanup(pool.stop)
        self.patch(reactor, "getThreadPool", lambda: pool)
        graph = build(load("edge.toml"), reactor)
        port = self.listen(graph.sites[0][1])

        async def stop():
            graph.abort()
            await eventually(lambda: not graph.busy)
            graph.close()

        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))
        response = await self.ask(port, "GET /status/a/b HTTP/1.1")
        self.assertEqual(response.chunks, b"open, a/b")
        response = await self.ask(port, "GET /app/x HTTP/1.1")
        self.assertEqual(response.chunks, b"/app /x")
        response = await self.ask(port, "GET /files/shop.py HTTP/1.1")
        self.assertEqual(response.body, source.encode())
