"""Active checks against real backends: those that are well, and the many ways not to be.

The checker runs on a clock of its own, so that no test waits for an interval or a timeout; its
connections are real.
"""

import os
import tempfile

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.task import Clock

from tests.scenarios.harness import MIB, Refusing, ok
from tests.scenarios.test_tls_backends import EXPIRED, OTHER, STRANGER, serving
from tests.scenarios.tls import ROOT, SERVER, SecureScenario
from txrproxy.config import schema
from txrproxy.config.forms.addresses import backend_url
from txrproxy.config.forms.numbers import statuses, timeout
from txrproxy.health.checker import Checker
from txrproxy.transport.deadlines import Deadlines
from txrproxy.wiring import Wiring, close

REQUEST = (
    b"GET /up HTTP/1.1\r\nHost: %b\r\nUser-Agent: txrproxy-health\r\nAccept: */*\r\n"
    b"Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
)


class _Timed:
    """The reactor, but for its time."""

    def __init__(self, clock):
        self.seconds = clock.seconds
        self.callLater = clock.callLater

    def __getattr__(self, name):
        return getattr(reactor, name)


class HealthScenario(SecureScenario):
    def setUp(self):
        super().setUp()
        self.clock = Clock()
        self.ends = []
        self.folders = []  # of sockets, which take a short path

    async def _end(self):
        for end in self.ends:
            end()
        await super()._end()
        for folder in self.folders:
            os.rmdir(folder)

    def check(self, *backends, path="/up", tls=None, **settings):
        """Begin to check these; the first checks are out when it returns."""
        urls = [b if isinstance(b, str) else b.url for b in backends]
        deadlines = Deadlines(reactor)
        wiring = Wiring(reactor, deadlines, lambda path: path)
        health = schema.Health(path=path and schema.RequestTarget(path), **settings)
        self.pool = wiring.pool(
            "app",
            schema.Pool(
                backends=tuple(schema.Backend(url=backend_url(url)) for url in urls),
                health=health,
                tls=tls or schema.BackendTls(),
            ),
        )
        self.checker = Checker(
            _Timed(self.clock), self.pool, health, lambda backend: backend.connections.dial
        )
        self.ends += [self.checker.stop, lambda: close([self.pool]), deadlines.close]
        self.checker.start()
        self.clock.advance(len(urls) / 200)

    def again(self):
        """Let an interval pass: the next check of each backend is out."""
        self.clock.advance(5.5)

    async def found(self, index=0, after=None):
        """What the first check found; or the one ``after`` a result."""

        def ended():
            last = self.checker.reports()[index].last
            return last is not after and last

        return await self.until(ended, "a check to end")

    async def passes(self, text, index=0):
        result = await self.found(index)
        self.assertEqual((result.passed, result.text), (True, text))
        self.assertTrue(self.pool.backends[index].healthy)

    async def fails(self, text, index=0):
        result = await self.found(index)
        self.assertEqual((result.passed, result.text), (False, text))
        self.assertIsNone(self.pool.backends[index].healthy)


class HttpTests(HealthScenario):
    async def test_ok(self):
        origin = await self.origin()
        self.check(origin)
        self.assertEqual((await origin.request()).raw_head, REQUEST % origin.address.encode())
        self.assertIsNone(self.pool.select())
        origin.reply(ok(b"fine"))
        await self.passes("status 200")
        self.assertIs(self.pool.select(), self.pool.backends[0])
        await origin.wire.ended()
        self.assertTrue(self.checker.ready.called)

    async def test_down_and_up_again(self):
        origin = await self.origin()
        self.check(origin, fall=1, rise=1)
        backend = self.pool.backends[0]
        last = None
        for status, healthy in ((204, True), (500, False), (503, False), (200, True)):
            await origin.request()
            origin.reply(b"HTTP/1.1 %d So\r\nContent-Length: 0\r\n\r\n" % status)
            last = await self.found(after=last)
            self.assertIs(backend.healthy, healthy)
            await origin.wire.ended()
            self.again()
        await origin.request()
        self.assertEqual(len(origin.wires), 5)  # each on a connection of its own

    async def test_another_status(self):
        origin = await self.origin()
        self.check(origin, expect=statuses("200,204"))
        await origin.request()
        origin.reply(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
        await self.fails("status 302, expected 200,204")

    async def test_text(self):
        origin = await self.origin()
        self.check(origin, body="all well")
        await origin.request()
        origin.reply(ok(b"x" * 30_000 + b"all well" + b"x" * 30_000))
        await self.passes("status 200, with the text")

    async def test_no_such_text(self):
        origin = await self.origin()
        self.check(origin, body="all well")
        await origin.request()
        origin.reply(ok(b"not so well"))
        await self.fails("the body lacks the text")

    async def test_host(self):
        origin = await self.origin()
        self.check(origin, host="a.example")
        self.assertEqual((await origin.request()).get(b"host"), b"a.example")

    async def test_several(self):
        well, ill = [await self.origin() for _ in range(2)]
        gone = Refusing()
        self.addCleanup(gone.close)
        self.check(well, ill, gone.url)
        await self.fails("connect refused", 2)
        await well.request()
        well.reply(ok())
        await self.passes("status 200", 0)
        await ill.request()
        self.assertFalse(self.checker.ready.called)
        ill.wire.reset()
        await self.fails("it closed the connection before it answered", 1)
        self.assertTrue(self.checker.ready.called)

    async def test_unix(self):
        folder = tempfile.mkdtemp()
        path = os.path.join(folder, "s")
        self.folders.append(folder)
        origin = await self.origin(unix=path)
        self.check(f"unix:{path}")
        self.assertEqual((await origin.request()).get(b"host"), b"localhost")
        origin.reply(ok())
        await self.passes("status 200")
        await origin.stop()

    async def test_no_unix_socket(self):
        self.check("unix:/nonexistent/s")
        await self.fails("connect refused")

    async def test_by_name(self):
        origin = await self.origin()
        self.check(f"http://localhost:{origin.port.getHost().port}")
        await origin.request()
        origin.reply(ok())
        await self.passes("status 200")


class BoundTests(HealthScenario):
    async def test_one_that_hangs(self):
        origin = await self.origin()
        self.check(origin, timeout=timeout("2s"))
        await origin.request()
        self.clock.advance(1.99)
        self.assertIsNone(self.checker.reports()[0].last)
        self.clock.advance(0.02)
        await self.fails("timed out after 2 s")
        await origin.wire.ended()

    async def test_one_that_trickles(self):
        origin = await self.origin()
        self.check(origin, timeout=timeout("2s"))
        await origin.request()
        for byte in b"HTTP/1.1 ":
            origin.reply(bytes([byte]))
            await self.turns(3)
            self.clock.advance(0.2)
        self.assertIsNone(self.checker.reports()[0].last)
        self.clock.advance(0.3)
        await self.fails("timed out after 2 s")

    async def test_a_head_without_end(self):
        origin = await self.origin()
        self.check(origin)
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\n" + b"X-Long: %b\r\n" % (b"x" * 1000) * 1000)
        await self.fails("response head too large")
        await origin.wire.ended()

    async def test_interim_responses_without_end(self):
        origin = await self.origin()
        self.check(origin)
        await origin.request()
        origin.reply(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000)
        await self.fails("bad response")

    async def test_a_body_without_end(self):
        """Nothing of it is wanted: the connection ends though it goes on."""
        origin = await self.origin()
        self.check(origin)
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 64 * MIB)
        await self.passes("status 200")
        await origin.wire.ended()

    async def test_a_body_without_end_and_without_the_text(self):
        origin = await self.origin()
        self.check(origin, body="all well")
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 64 * MIB)
        await self.fails("the body lacks the text in its first 64 KiB")
        await origin.wire.ended()

    async def test_another_protocol(self):
        origin = await self.origin()
        origin.prepare = lambda wire: reactor.callLater(0, wire.send, b"220 mail.example\r\n")
        self.check(origin)
        await self.fails("bad response")

    async def test_stopped_in_the_middle(self):
        origin = await self.origin()
        self.check(origin)
        await origin.request()
        self.checker.stop()
        await origin.wire.ended()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ConnectTests(HealthScenario):
    async def test_connected(self):
        origin = await self.origin()
        self.check(origin, path=None)
        wire = await origin.accept()
        await self.passes("connected")
        await wire.ended()
        self.assertEqual(wire.total, 0)

    async def test_refused(self):
        gone = Refusing()
        self.addCleanup(gone.close)
        self.check(gone.url, path=None)
        await self.fails("connect refused")

    async def test_stopped_listening(self):
        origin = await self.origin()
        self.check(origin, path=None, fall=2)
        last = await self.found()
        self.assertTrue(last.passed)
        await origin.stop()
        for healthy in (True, False):
            self.again()
            last = await self.found(after=last)
            self.assertEqual((last.passed, last.text), (False, "connect refused"))
            self.assertIs(self.pool.backends[0].healthy, healthy)


class BesideTests(HealthScenario):
    async def test_requests_do_not_wait_for_a_check_that_hangs(self):
        checks = 'health = { path = "/up", interval = "1h", timeout = "1m", initial = "healthy" }'
        origin, proxy, client = await self.pair(pool=checks)
        proxy.graph.start()
        self.addCleanup(proxy.graph.close)
        check = await origin.request()
        self.assertEqual(check.target, b"/up")
        for _ in range(3):
            seen, response = await self.exchange(client, origin)
            self.assertNotEqual(seen.target, b"/up")
            self.assertEqual(response.status, 200)


class TlsTests(HealthScenario):
    async def behind(self, issued=SERVER, path="/up", **how):
        origin = await self.secure_origin(serving(issued, **how))
        ca = schema.FilePath(str(self.file("root.pem", ROOT.pem)))
        self.check(origin, path=path, tls=schema.BackendTls(ca=ca), timeout=timeout("1s"))
        return origin

    async def test_verified(self):
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            origin = await self.behind(version=version)
            await origin.request()
            origin.reply(ok())
            await self.passes("status 200")
            await origin.wire.ended()

    async def test_connected(self):
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            origin = await self.behind(path=None, version=version)
            await self.passes("connected")
            await (await origin.accept()).ended()

    async def test_not_verified(self):
        for issued in (OTHER, EXPIRED, STRANGER):
            for path in ("/up", None):
                origin = await self.behind(issued, path)
                await self.fails("tls verify failed")
                self.assertTrue(all(not wire.received for wire in origin.wires))

    async def test_no_tls_there(self):
        origin = await self.origin()
        origin.prepare = lambda wire: reactor.callLater(0, wire.send, b"220 mail.example\r\n")
        self.check(f"https://{origin.address}", timeout=timeout("1s"))
        await self.fails("tls handshake failed")

    async def test_a_handshake_that_hangs(self):
        origin = await self.origin()
        self.check(f"https://{origin.address}", timeout=timeout("500ms"))
        wire = await origin.accept()
        await wire.until(lambda: wire.received, "a greeting")
        self.clock.advance(0.5)
        await self.fails("timed out after 0.5 s")
        await wire.ended()
