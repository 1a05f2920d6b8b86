import errno
import hashlib
import json
import tomllib
from pathlib import Path
from types import SimpleNamespace

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, LoopingCall
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.test_demo_websocket import masked
from txrproxy import demo
from txrproxy.demo_websocket import BINARY, CLOSE, TEXT, frame

DEMO_TOML = Path(__file__).parent.parent / "etc" / "demo.toml"


class Wire(Protocol):
    """A client on bytes."""

    def __init__(self):
        self.data = b""
        self.lost = Deferred()
        self._waiting = None

    def dataReceived(self, data):
        self.data += data
        self._look()

    def connectionLost(self, reason):
        self.lost.callback(None)
        if self._waiting is not None:
            self._waiting[1].errback(AssertionError(f"connection lost with {self.data!r}"))

    def until(self, end):
        """What has arrived up to and with ``end``, taken off."""
        assert self._waiting is None
        found = Deferred()
        self._waiting = (end, found)
        self._look()
        return found

    def _look(self):
        if self._waiting is not None and self._waiting[0] in self.data:
            (end, found), self._waiting = self._waiting, None
            text, _, self.data = self.data.partition(end)
            found.callback(text + end)


class DemoTests(TestCase):
    timeout = 20

    def setUp(self):
        self.clock = Clock()
        self.clock.adoptStreamPort = reactor.adoptStreamPort
        self.service = demo.demo_service(self.clock, (0, 0))
        self.service.startService()
        self.first, self.second = self.service
        self.running = True
        self.addCleanup(self.stop)

    def stop(self):
        if self.running:
            self.running = False
            return self.service.stopService()
        return None

    async def wire(self, data, origin=None):
        host, _, port = (origin or self.first).address.partition(":")
        wire = await connectProtocol(TCP4ClientEndpoint(reactor, host, int(port)), Wire())
        self.addCleanup(lambda: wire.lost)
        self.addCleanup(wire.transport.abortConnection)
        wire.transport.write(data)
        return wire

    async def ask(self, target, method="GET", head="", body=b"", origin=None):
        """Status, header text and body of one exchange."""
        wire = await self.wire(
            f"{method} {target} HTTP/1.0\r\nHost: x\r\n{head}\r\n".encode() + body, origin
        )
        await wire.lost
        start, _, rest = wire.data.partition(b"\r\n\r\n")
        return int(start.split()[1]), start.decode().lower(), rest

    async def test_page(self):
        status, head, body = await self.ask("/", head="X-Mark: <b>\r\n")
        self.assertEqual(status, 200)
        self.assertIn("x-origin: alder", head)
        self.assertIn(b"<h1>Alder answered</h1>", body)
        self.assertIn(b"&lt;b&gt;", body)

    async def test_second_origin_is_slow_now_and_then(self):
        for _ in range(4):
            self.assertEqual((await self.ask("/", origin=self.second))[0], 200)
        wire = await self.wire(b"GET / HTTP/1.0\r\n\r\n", self.second)
        while not self.clock.getDelayedCalls() or self.second._pages < 5:
            await self.turn()
        self.clock.advance(demo._SLOW_SECONDS)
        self.assertIn(b"Birch answered", await wire.until(b"</h1>"))

    def turn(self):
        passed = Deferred()
        reactor.callLater(0, passed.callback, None)
        return passed

    async def test_headers(self):
        status, _, body = await self.ask("/headers?a=b", head="X-A: 1\r\nX-A: 2\r\n")
        seen = json.loads(body)
        self.assertEqual((status, seen["target"], seen["origin"]), (200, "/headers?a=b", "Alder"))
        self.assertEqual([v for n, v in seen["headers"] if n.lower() == "x-a"], ["1", "2"])

    async def test_slow(self):
        wire = await self.wire(b"GET /slow?seconds=3 HTTP/1.0\r\n\r\n")
        while not self.delays(3):
            await self.turn()
        self.assertEqual(wire.data, b"")
        self.clock.advance(3)
        await wire.until(b"Alder, after 3 s\n")

    def delays(self, seconds):
        due = self.clock.seconds() + seconds
        return [call for call in self.clock.getDelayedCalls() if call.getTime() == due]

    async def test_slow_client_that_leaves(self):
        wire = await self.wire(b"GET /slow?seconds=3 HTTP/1.0\r\n\r\n")
        while not self.delays(3):
            await self.turn()
        wire.transport.abortConnection()
        while self.delays(3):
            await self.turn()

    async def test_bad_numbers(self):
        for target in (
            "/slow?seconds=x",
            "/slow?seconds=61",
            "/slow?seconds=nan",
            "/bytes/1073741825",
            "/bytes/",
            "/bytes/1/2",
            "/bytes/-1",
            "/bytes/99999999999999999999",
            "/away?seconds=-1",
            "/status/199",
            "/status/x",
        ):
            self.assertEqual((await self.ask(target))[0], 400, target)

    async def test_bytes(self):
        for size in (0, 1, 65536, 1_000_000):
            _, head, body = await self.ask(f"/bytes/{size}")
            self.assertIn(f"content-length: {size}", head)
            self.assertEqual(len(body), size)
        status, head, body = await self.ask("/bytes/5", "HEAD")
        self.assertEqual((status, body), (200, b""))
        self.assertIn("content-length: 5", head)

    async def test_bytes_wait_for_the_reader(self):
        wire = await self.wire(b"GET /bytes/1073741824 HTTP/1.0\r\n\r\n")
        await wire.until(b"\r\n\r\n")
        wire.transport.pauseProducing()
        (server,) = self.first._connections.protocols
        for _ in range(200):
            await self.turn()
        transport = server.transport
        self.assertLess(len(transport.dataBuffer) + transport._tempDataLen, 1 << 20)

    async def test_events(self):
        wire = await self.wire(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await wire.until(b"\r\n\r\n")
        self.assertIn(b"text/event-stream", head)
        await wire.until(b"id: 1\ndata: Alder 1\n\n")
        self.clock.advance(1)
        await wire.until(b"id: 2\ndata: Alder 2\n\n")
        self.assertTrue(self.loops())
        wire.transport.abortConnection()
        while self.loops():
            await self.turn()

    def loops(self):
        return [call for call in self.clock.getDelayedCalls() if isinstance(call.func, LoopingCall)]

    async def test_events_are_skipped_for_who_does_not_read(self):
        written = []
        request = SimpleNamespace(
            notifyFinish=Deferred,
            registerProducer=lambda producer, streaming: None,
            write=written.append,
        )
        events = demo._Events(self.clock, request, "x")
        events.pauseProducing()
        self.clock.advance(1)
        events.resumeProducing()
        self.clock.advance(1)
        events.stopProducing()
        self.clock.advance(1)
        self.assertEqual(written, [b"id: 1\ndata: x 1\n\n", b"id: 3\ndata: x 3\n\n"])

    async def test_upload(self):
        body = bytes(range(256)) * 4096
        for kind in ("application/octet-stream", "multipart/form-data; boundary=x"):
            head = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            _, _, answer = await self.ask("/upload", "POST", head, body)
            self.assertEqual(
                json.loads(answer),
                {
                    "origin": "Alder",
                    "length": len(body),
                    "sha256": hashlib.sha256(body).hexdigest(),
                },
            )
        _, _, answer = await self.ask("/upload", "POST")
        self.assertEqual(json.loads(answer)["sha256"], hashlib.sha256().hexdigest())
        self.assertEqual((await self.ask("/upload"))[0], 405)

    async def test_chunked_upload(self):
        wire = await self.wire(
            b"PUT /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\n\r\n"
        )
        self.assertIn(hashlib.sha256(b"abc").hexdigest().encode(), await wire.until(b"}\n"))

    async def test_status_redirect_static(self):
        self.assertEqual((await self.ask("/status/418"))[0], 418)
        self.assertEqual((await self.ask("/status/204"))[2], b"")
        status, head, _ = await self.ask("/redirect")
        self.assertEqual(status, 302)
        self.assertIn(f"location: http://{self.first.address}/headers", head)
        status, head, _ = await self.ask("/static/demo.css")
        self.assertIn("max-age", head)
        tag = head.split("etag: ")[1].split("\r\n")[0]
        status, _, body = await self.ask("/static/demo.css", head=f"If-None-Match: {tag}\r\n")
        self.assertEqual((status, body), (304, b""))
        self.assertEqual((await self.ask("/static/x"))[0], 404)
        self.assertEqual((await self.ask("/nothing"))[0], 404)

    handshake = (
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )

    async def test_websocket(self):
        wire = await self.wire(self.handshake)
        head = await wire.until(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "))
        self.assertIn(b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", head)
        wire.transport.write(masked(TEXT, b"Hello"))
        await wire.until(frame(TEXT, b"Hello"))
        big = b"x" * 500_000
        wire.transport.write(masked(BINARY, big))
        await wire.until(frame(BINARY, big))
        wire.transport.write(masked(CLOSE, b"\x03\xe8"))
        await wire.until(frame(CLOSE, b"\x03\xe8"))
        await wire.lost

    async def test_no_websocket(self):
        for old, new, status in (
            (b"GET", b"POST", b"400"),
            (b"keep-alive, Upgrade", b"keep-alive", b"400"),
            (b"Upgrade: websocket", b"Upgrade: other", b"400"),
            (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhl", b"400"),
            (b"dGhlIHNhbXBsZSBub25jZQ==", b"*", b"400"),
            (b"Version: 13", b"Version: 8", b"426"),
        ):
            wire = await self.wire(self.handshake.replace(old, new))
            self.assertIn(b"HTTP/1.1 " + status, await wire.until(b"\r\n\r\n"))

    async def test_away(self):
        streaming = await self.wire(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        await streaming.until(b"\r\n\r\n")
        for _ in range(2):  # who asks twice is not away twice
            status, _, body = await self.ask("/away?seconds=5")
            self.assertEqual((status, body), (200, b"Alder is gone for 5 s\n"))
        self.clock.advance(1)
        await streaming.lost
        with self.assertRaises(ConnectionRefusedError):
            await self.ask("/headers")
        self.assertEqual((await self.ask("/headers", origin=self.second))[0], 200)
        self.clock.advance(5)
        self.assertEqual((await self.ask("/headers"))[0], 200)

    async def test_stops_while_it_is_away(self):
        await self.ask("/away")
        self.clock.advance(1)
        await self.stop()
        self.assertEqual(self.delays(9), [])

    async def test_stops_with_connections_open(self):
        wires = [
            await self.wire(self.handshake),
            await self.wire(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n"),
            await self.wire(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ]
        for wire in wires:
            await wire.until(b"\r\n\r\n")
        slow = await self.wire(b"GET /slow?seconds=9 HTTP/1.1\r\nHost: x\r\n\r\n")
        while not self.delays(9):
            await self.turn()
        host, _, port = self.first.address.partition(":")
        await self.stop()
        for wire in [*wires, slow]:
            await wire.lost
        self.assertEqual(self.delays(9) + self.loops(), [])
        with self.assertRaises(ConnectionRefusedError):
            await connectProtocol(TCP4ClientEndpoint(reactor, host, int(port)), Wire())

    async def test_another_process_goes_on(self):
        """It listens at the same address; who is connected here is served to the end."""
        slow = await self.wire(b"GET /slow?seconds=9 HTTP/1.0\r\n\r\n")
        while not self.delays(9):
            await self.turn()
        (other, _) = after = demo.demo_service(self.clock, (self.first._number, 0))
        with self.assertRaises(OSError) as caught:
            after.bind()
        self.assertEqual(caught.exception.errno, errno.EADDRINUSE)
        self.assertEqual(caught.exception.strerror, f"{self.first.address}: Address already in use")
        after.bind(beside=True)
        waits = await self.wire(b"GET /headers HTTP/1.0\r\n\r\n")
        after.startService()
        self.addCleanup(after.stopService)
        await self.service.retire()
        for _ in range(4):
            self.assertEqual((await self.ask("/headers", origin=other))[0], 200)
        await waits.lost
        self.assertIn(b"200 OK", waits.data)
        self.clock.advance(9)
        await slow.until(b"Alder, after 9 s\n")

    async def test_retired_while_away(self):
        await self.ask("/away?seconds=5")
        self.clock.advance(demo._BEFORE_LEAVING)
        await self.service.retire()
        self.assertEqual(self.delays(5), [])


def config(*backends, bind=(), secure=()):
    listener = SimpleNamespace(bind=bind, tls=None)
    https = SimpleNamespace(bind=secure, tls=SimpleNamespace())
    pool = SimpleNamespace(backends=[SimpleNamespace(url=url) for url in backends])
    return SimpleNamespace(pools={"demo": pool}, listeners={"http": listener, "https": https})


class ServiceForTests(SynchronousTestCase):
    def test_only_for_the_demo(self):
        both = ("http://127.0.0.1:8082", "http://127.0.0.1:8081")
        self.assertEqual(
            [origin.title for origin in demo.service_for(config(*both), Clock())],
            ["Alder", "Birch"],
        )
        self.assertIsNone(demo.service_for(config(both[0]), Clock()))
        self.assertIsNone(demo.service_for(config(*both, "http://a"), Clock()))
        self.assertIsNone(demo.service_for(SimpleNamespace(pools={}), Clock()))

    def test_demo_toml_is_it(self):
        table = tomllib.loads(DEMO_TOML.read_text())
        self.assertIsNotNone(demo.service_for(config(*table["pools"]["demo"]["backends"]), Clock()))


class BannerTests(SynchronousTestCase):
    def test_first_tcp_listener(self):
        unix = SimpleNamespace(kind="unix", host="", port=0)
        for host, url in (
            ("127.0.0.1", "http://127.0.0.1:80/events"),
            ("0.0.0.0", "http://127.0.0.1:80/events"),
            ("::", "http://[::1]:80/events"),
            ("::1", "http://[::1]:80/events"),
        ):
            tcp = SimpleNamespace(kind="tcp", host=host, port=80)
            self.assertIn(url, demo.banner(config(bind=(unix, tcp))))
        self.assertEqual(demo.banner(config(bind=(unix,))), "")

    def test_https(self):
        tcp = SimpleNamespace(kind="tcp", host="127.0.0.1", port=80)
        tls = SimpleNamespace(kind="tcp", host="127.0.0.1", port=443)
        both = demo.banner(config(bind=(tcp,), secure=(tls,)))
        self.assertIn("  http://127.0.0.1:80/events", both)
        self.assertIn("\n  https://127.0.0.1:443/ ", both)
        self.assertIn("  https://127.0.0.1:443/events", demo.banner(config(secure=(tls,))))
