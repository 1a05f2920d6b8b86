"""slowhttptest against a proxy, where it is installed: all that it opens is closed on it."""

import shutil
import tempfile

from twisted.internet.utils import getProcessOutputAndValue

from tests.scenarios.harness import Scenario

TOOL = shutil.which("slowhttptest")
CONNECTIONS = 50
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

    async def attack(self, *arguments):
        origin = await self.origin()
        proxy = await self.proxy(origin, listener=LISTENER)
        url = "http://{}:{}/".format(*proxy.address)
        common = ["-c", str(CONNECTIONS), "-r", "50", "-l", "10", "-p", "2", "-u", url]
        await getProcessOutputAndValue(TOOL, [*arguments, *common], path=tempfile.gettempdir())
        await self.until(lambda: not proxy.site.connections, "all connections to be gone")
        return [reason for reason in proxy.log.reasons if reason != b"client_aborted"]

    async def test_slow_heads(self):
        reasons = await self.attack("-H", "-i", "1")
        self.assertGreaterEqual(reasons.count(b"head_timeout"), CONNECTIONS // 2)

    async def test_slow_bodies(self):
        reasons = await self.attack("-B", "-i", "1", "-s", "8192", "-x", "10")
        self.assertGreaterEqual(reasons.count(b"body_timeout"), CONNECTIONS // 2)
