"""slowhttptest against a proxy, where it is installed: all that it opens is closed on it."""

import shutil
import tempfile

from twisted.internet.utils import getProcessOutputAndValue

from tests.scenarios.harness import MIB, Scenario

TOOL = shutil.which("slowhttptest")
CONNECTIONS = 50
READERS = 10
MUCH = 8 * MIB  # more than the buffers of sockets take
LISTENER = """
head_timeout = "2s"
body_timeout = "2s"
write_timeout = "2s"
min_body_rate = "1KiB"
min_write_rate = "1MiB"
"""


class SlowTests(Scenario):
    if TOOL is None:
        skip = "slowhttptest is not installed"

    done = False

    async def attack(self, *arguments, origin=None, connections=CONNECTIONS):
        origin = origin or await self.origin()
        proxy = await self.proxy(origin, listener=LISTENER)
        url = "http://{}:{}/".format(*proxy.address)
        common = ["-c", str(connections), "-r", "50", "-l", "10", "-p", "2", "-u", url]
        await getProcessOutputAndValue(TOOL, [*arguments, *common], path=tempfile.gettempdir())
        self.done = True
        await self.until(lambda: not proxy.site.connections, "all connections to be gone")
        return [reason for reason in proxy.log.reasons if reason != b"client_aborted"]

    async def test_slow_heads(self):
        reasons = await self.attack("-H", "-i", "1")
        self.assertGreaterEqual(reasons.count(b"head_timeout"), CONNECTIONS // 2)

    async def test_slow_bodies(self):
        reasons = await self.attack("-B", "-i", "1", "-s", "8192", "-x", "10")
        self.assertGreaterEqual(reasons.count(b"body_timeout"), CONNECTIONS // 2)

    async def test_slow_readers(self):
        origin = await self.origin()
        self.later(self.answer(origin))
        arguments = ("-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "1")
        reasons = await self.attack(*arguments, origin=origin, connections=READERS)
        self.assertGreaterEqual(reasons.count(b"write_timeout"), READERS // 2)

    async def answer(self, origin):
        """Much more than a client of that kind ever takes."""
        answered = set()
        while True:
            await self.until(lambda: set(origin.wires) - answered or self.done, "a request")
            if self.done:
                return
            for wire in set(origin.wires) - answered:
                answered.add(wire)
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MUCH + bytes(MUCH))
