"""Crowds that are slow on purpose, scripted: slowloris, slow POST, slow read.

Each is held to a bounded number of connections and to bounded memory, is gone after its time, and
then an honest client is served. ``tests/long/test_slowhttptest.py`` does the same with that tool.
"""

import tracemalloc

from tests.scenarios.harness import EMPTY_OK, GET, MIB, Scenario

MOST = 8  # connections that the proxy takes
CROWD = 24
EACH = 512 * 1024  # bytes that the proxy may hold for one of them
LISTENER = """
head_timeout = "4s"
body_timeout = "4s"
write_timeout = "4s"
min_body_rate = "1KiB"
min_write_rate = "1GiB"
"""
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (16 * MIB)


class CrowdTests(Scenario):
    async def setup(self):
        self.backend = await self.origin()
        server = f"max_connections = {MOST}"
        self.attacked = await self.proxy(self.backend, timed=True, listener=LISTENER, server=server)
        self.most = 0
        self.held = 0

    async def crowd(self, begin, go_on):
        """Everybody begins; then all go on a little, again and again, until they are all gone."""
        await self.setup()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        wires = []
        for _ in range(CROWD):
            wires.append(await self.client(self.attacked))
            await begin(wires[-1])
        for _ in range(40 * CROWD):
            self.look()
            if all(wire.over for wire in wires):
                break
            for wire in wires:
                if not wire.over:
                    await go_on(wire)
            await self.turns(3)
            self.attacked.wait(1)
            await self.turns(10)
        self.assertTrue(all(wire.over for wire in wires), [w for w in wires if not w.over])
        self.assertGreaterEqual(self.most, MOST - 1)
        self.assertLessEqual(self.most, MOST + self.attacked.port.numberAccepts)
        self.assertLess(self.held, MOST * EACH)
        await self.until(lambda: not self.attacked.site.connections, "the last to be gone")
        client = await self.client(self.attacked)
        self.backend.wires.clear()
        client.send(GET)
        await self.until(lambda: self.backend.wires, "the backend to be asked")
        self.backend.wires[-1].send(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    def look(self):
        self.most = max(self.most, len(self.attacked.site.connections))
        ours = tracemalloc.take_snapshot().filter_traces(
            [tracemalloc.Filter(True, "*/txrproxy/*"), tracemalloc.Filter(True, "*/twisted/*")]
        )
        self.held = max(self.held, sum(trace.size for trace in ours.traces))

    async def test_heads(self):
        async def begin(wire):
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ")

        async def go_on(wire):
            wire.send(b"x")

        await self.crowd(begin, go_on)
        self.assertGreaterEqual(self.attacked.log.reasons.count(b"head_timeout"), CROWD)

    async def test_bodies(self):
        async def begin(wire):
            wire.send(POST)

        async def go_on(wire):
            wire.send(b"x")

        await self.crowd(begin, go_on)
        self.assertGreaterEqual(self.attacked.log.reasons.count(b"body_timeout"), CROWD)

    async def test_readers(self):
        async def begin(wire):
            wire.stop_reading()
            wire.send(GET)

        async def go_on(wire):
            for asked in self.backend.wires:
                if asked not in self.told and asked.received:
                    self.told.append(asked)
                    asked.send(LARGE + bytes(16 * MIB))
            wire.read_again()
            await self.turns(1)
            wire.stop_reading()

        self.told = []
        await self.crowd(begin, go_on)
        self.assertGreaterEqual(self.attacked.log.reasons.count(b"write_timeout"), CROWD - 1)
