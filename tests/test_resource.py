from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import ContextFactory
from twisted.internet.task import Clock
from twisted.names.dns import Record_A
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site
from twisted.web.static import Data
from zope.interface.verify import verifyObject

from tests.tls import pki
from tests.wires import Log, Response, Sockets, eventually, turn
from txrproxy.http.forward import changes
from txrproxy.names.question import Unanswered
from txrproxy.names.resolver import AAAA, Resolver
from txrproxy.resource import ReverseProxyResource, backend_pool, response_cache
from txrproxy.routing.rewrite import Rewrite
from txrproxy.stock import is_below

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(response=OK):
    """The script of an origin that answers every request without a body."""

    async def script(wire):
        while True:
            wire.heads = getattr(wire, "heads", [])
            wire.heads.append(await wire.until(b"\r\n\r\n"))
            wire.send(response)

    return script


class NameTests(Sockets, TestCase):
    """A pool of a name, whose first look-up is answered by hand."""

    def setUp(self):
        self.answers = []

        async def records(resolver, name, kind):
            if kind == AAAA:
                return []
            self.answers.append(Deferred())
            return await self.answers[-1]

        self.patch(Resolver, "records", records)
        self.patch(Resolver, "hosts", lambda resolver, name: ())
        self.backend = self.origin(answer())
        self.pool = backend_pool(f"http://app.example:{self.backend.port}", reactor=reactor)
        self.addCleanup(self.pool.close)
        self.log = Log()
        site = Site(ReverseProxyResource(self.pool, log=self.log), reactor=reactor)
        site.startFactory = site.stopFactory = lambda: None
        self.port = self.listen(site)

    def answer(self):
        self.answers.pop().callback([Record_A("127.0.0.1")])

    async def test_the_first_requests_wait(self):
        asked = [Deferred.fromCoroutine(self.ask(self.port, "GET / HTTP/1.1\r\n")) for _ in "ab"]
        await eventually(lambda: self.answers)
        self.answer()
        for response in asked:
            self.assertEqual((await response).status, 200)
        self.assertEqual((await self.ask(self.port, "GET / HTTP/1.1\r\n")).status, 200)
        self.assertEqual(self.answers, [])

    async def test_nothing_is_looked_up_before_one_comes(self):
        await turn()
        self.assertEqual(self.answers, [])

    async def test_no_address(self):
        asked = Deferred.fromCoroutine(self.ask(self.port, "GET / HTTP/1.1\r\n"))
        await eventually(lambda: self.answers)
        self.answers.pop().errback(Unanswered("no server"))
        self.assertEqual((await asked).status, 503)
        self.assertEqual(self.log.reasons, [b"no_backend"])

    async def test_a_client_that_leaves_meanwhile(self):
        wire = await self.connect(self.port)
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: self.answers)
        wire.transport.abortConnection()
        await wire.lost
        for _ in range(20):
            await turn()
        self.answer()
        for _ in range(20):
            await turn()
        self.assertEqual((self.log, self.backend.wires), ([], []))

    async def test_closed_meanwhile(self):
        asked = Deferred.fromCoroutine(self.ask(self.port, "GET / HTTP/1.1\r\n"))
        await eventually(lambda: self.answers)
        self.pool.close()
        self.assertEqual((await asked).status, 503)


class ResourceCase(Sockets, TestCase):
    def mount(self, script=None, *, url=None, pool_options=None, at=b"api", **options):
        """A stock site with our resource below ``/api``, in front of a scripted origin."""
        self.origin_ = self.origin(script) if script is not None else None
        url = url or f"http://127.0.0.1:{self.origin_.port}"
        pool = backend_pool(url, reactor=reactor, **(pool_options or {}))
        self.addCleanup(pool.close)
        self.log = Log()
        made = ReverseProxyResource(pool, log=self.log, **options)
        root = made
        if at:
            root = Resource()
            root.putChild(at, made)
            root.putChild(b"other", Data(b"not proxied", "text/plain"))
        self.factory = self.stock(root)
        return self.listen(self.factory)

    def stock(self, root):
        """A stock site, whose connections are all closed when the test is over."""
        site = Site(root, reactor=reactor)
        site.startFactory = site.stopFactory = lambda: None  # it would log, with a timer
        channels = []
        build_protocol = site.buildProtocol

        def build(addr):
            channels.append(build_protocol(addr))
            return channels[-1]

        async def stop():
            for transport in [channel._channel.transport for channel in channels]:
                if transport.connected:
                    transport.abortConnection()
                await eventually(lambda transport=transport: not transport.connected)

        site.buildProtocol = build
        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))
        return site

    @property
    def head(self):
        """The first request head that the origin got."""
        return self.origin_.wires[0].heads[0]

    def received(self, name):
        """The values of a field in it."""
        prefix = name.lower() + b":"
        return [
            line[len(prefix) :].strip()
            for line in self.head.split(b"\r\n")
            if line.lower().startswith(prefix)
        ]


class SecureBackendTests(ResourceCase):
    def setUp(self):
        super().setUp()
        self.ca = self.mktemp()
        Path(self.ca).write_bytes(pki.authority().pem)

    def secure(self, *names):
        made = Data(b"over TLS", "text/plain")
        made.isLeaf = True
        site = self.stock(made)

        class Creator(ContextFactory):
            def getContext(self):
                return context

        context = pki.server_context(pki.leaf(*names))
        port = reactor.listenSSL(0, site, Creator(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"https://127.0.0.1:{port.getHost().port}"

    async def test_verified(self):
        port = self.mount(url=self.secure("127.0.0.1"), pool_options={"ca": self.ca})
        response = await self.ask(port, "GET /api HTTP/1.1")
        self.assertEqual((response.status, response.body), (200, b"over TLS"))

    async def test_not_verified(self):
        url = self.secure("other.example")
        for options, status in (
            ({}, 502),
            ({"ca": self.ca}, 502),
            ({"ca": self.ca, "server_name": "other.example"}, 200),
            ({"verify": False}, 200),
        ):
            port = self.mount(url=url, pool_options=options)
            self.assertEqual((await self.ask(port, "GET /api HTTP/1.1")).status, status)


class RequestTests(ResourceCase):
    async def test_target_is_sent_as_it_came(self):
        for target in (
            "/api/;x=1@c,d",
            "/api/a%2Fb%20c/%7euser",
            "/api/x?",
            "/api/x?a=%2f&b=/../",
            "/api",
            "/api//x",
            "/api/a/./b/../c",
        ):
            port = self.mount(answer())
            response = await self.ask(port, f"GET {target} HTTP/1.1")
            self.assertEqual((response.status, response.body), (200, b"ok"))
            self.assertEqual(self.head.split(b"\r\n")[0], f"GET {target} HTTP/1.1".encode())

    async def test_dot_segments_do_not_leave_the_mount(self):
        port = self.mount(answer())
        for path in ("/api/../other", "/api/%2e%2e/other", "/api/..%2fother", "/api/x/..;/../y"):
            response = await self.ask(port, f"GET {path} HTTP/1.1")
            self.assertEqual(response.status, 404, path)
        response = await self.ask(port, "GET /api/../../x HTTP/1.1")
        self.assertEqual(response.status, 400)
        self.assertEqual(self.origin_.wires, [])
        self.assertEqual(self.log.reasons, [b"no_route"] * 4 + [b"target_above_root"])

    async def test_rest_of_the_site(self):
        port = self.mount(answer())
        self.assertEqual((await self.ask(port, "GET /other HTTP/1.1")).body, b"not proxied")

    async def test_whole_site(self):
        port = self.mount(answer(), at=None)
        await self.ask(port, "GET /x/../y HTTP/1.1")
        self.assertEqual(self.head.split(b"\r\n")[0], b"GET /x/../y HTTP/1.1")

    async def test_rewrite(self):
        port = self.mount(
            answer(
                b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://127.0.0.1:%d/y\r\n\r\n"
            ),
            rewrite=Rewrite(b"/api"),
        )
        origin = self.origin_
        origin.script = answer(
            b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://127.0.0.1:%d/y\r\n\r\n"
            % origin.port
        )
        response = await self.ask(port, "GET /api/x?q HTTP/1.1")
        self.assertEqual(self.head.split(b"\r\n")[0], b"GET /x?q HTTP/1.1")
        self.assertEqual(response.first(b"location"), b"http://example.com/api/y")

    async def test_fields(self):
        port = self.mount(answer(), request_headers=changes(set=[(b"X-Set", b"by us")]))
        await self.ask(
            port,
            "GET /api HTTP/1.1\r\nX-Two: 1\r\nTE: trailers\r\nUpgrade: websocket\r\nX-Two: 2\r\n"
            "Connection: x-mine, upgrade, te\r\nX-Mine: 1\r\nKeep-Alive: 1\r\nX-Set: theirs\r\n",
        )
        self.assertEqual(self.received(b"x-two"), [b"1", b"2"])
        self.assertEqual(self.received(b"x-set"), [b"by us"])
        self.assertEqual(self.received(b"host"), [b"example.com"])
        for name in (b"upgrade", b"x-mine", b"keep-alive", b"content-length", b"transfer-encoding"):
            self.assertEqual(self.received(name), [], name)
        self.assertNotIn(b"upgrade", self.received(b"connection"))

    async def test_a_client_can_not_pose_as_a_proxy(self):
        port = self.mount(answer())
        await self.ask(
            port,
            "GET /api HTTP/1.1\r\nX-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\n"
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Real-IP: 9.9.9.9\r\n",
        )
        self.assertEqual(self.received(b"x-forwarded-for"), [b"127.0.0.1"])
        self.assertEqual(self.received(b"x-forwarded-proto"), [b"http"])
        self.assertEqual(self.received(b"x-forwarded-host"), [b"example.com"])
        self.assertEqual(
            self.received(b"forwarded"), [b'host="example.com";for=127.0.0.1;proto=http']
        )
        self.assertEqual(self.received(b"via"), [b"1.1 txrproxy"])
        self.assertEqual(self.received(b"x-real-ip"), [])
        self.assertEqual(self.log[0][1], b"127.0.0.1")

    async def test_a_trusted_proxy_is_believed(self):
        port = self.mount(answer(), trusted_proxies=["127.0.0.0/8"])
        response = await self.ask(
            port, "GET /api HTTP/1.1\r\nX-Forwarded-For: 9.9.9.9\r\nX-Request-Id: theirs\r\n"
        )
        self.assertEqual(self.received(b"x-forwarded-for"), [b"9.9.9.9, 127.0.0.1"])
        self.assertEqual(response.first(b"x-request-id"), b"theirs")
        self.assertEqual(self.log[0][1], b"9.9.9.9")

    async def test_bad_heads(self):
        port = self.mount(answer(), at=None)
        for head, status in (
            ("GET /api HTTP/1.1\r\nHost: b\r\n", 400),  # the second Host
            ("GET /api#f HTTP/1.1", 400),
            ("GET /api HTTP/1.1\r\nX: a\x01b\r\n", 400),
            ("GET /api/%zz HTTP/1.1", 400),
            ("GET http://other/api HTTP/1.1", 400),
            ("GET /api HTTP/1.1\r\nExpect: wonders\r\n", 417),
        ):
            response = await self.ask(port, head)
            self.assertEqual(response.status, status, head)
        self.assertEqual(self.origin_.wires, [])

    async def body(self, framing, body, **options):
        """What the origin reads of a request with a body, framed by Content-Length."""
        got = []

        async def script(wire):
            wire.heads = [await wire.until(b"\r\n\r\n")]
            (length,) = self.received(b"content-length")
            await eventually(lambda: wire.size >= int(length))
            got.append(wire.data)
            wire.send(OK)

        port = self.mount(script, **options)
        response = await self.ask(port, f"POST /api HTTP/1.1\r\n{framing}", body)
        if response.status == 100:
            response = Response(response.body)
        self.assertEqual(response.status, 200)
        return got[0]

    async def test_body(self):
        self.assertEqual(await self.body("Content-Length: 4\r\n", b"body"), b"body")
        self.assertEqual(self.received(b"content-length"), [b"4"])

    async def test_chunked_body_is_framed_anew(self):
        body = await self.body("Transfer-Encoding: chunked\r\n", b"2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n")
        self.assertEqual(body, b"body")
        self.assertEqual(self.received(b"transfer-encoding"), [])
        self.assertEqual(self.received(b"content-length"), [b"4"])
        self.assertTrue(self.head.startswith(b"POST /api HTTP/1.1\r\n"))

    async def test_empty_body(self):
        self.assertEqual(await self.body("Content-Length: 0\r\n", b""), b"")

    async def test_expectation_is_the_site_s(self):
        self.assertEqual(
            await self.body("Expect: 100-continue\r\nContent-Length: 1\r\n", b"x"), b"x"
        )
        self.assertEqual(self.received(b"expect"), [])

    async def test_large_body(self):
        content = bytes(range(256)) * 8192
        self.assertEqual(await self.body(f"Content-Length: {len(content)}\r\n", content), content)

    async def test_origin_that_does_not_read(self):
        size = 16 << 20
        done = []

        async def script(wire):
            wire.transport.pauseProducing()
            await eventually(lambda: done)
            wire.transport.resumeProducing()
            await wire.until(b"\r\n\r\n")
            await eventually(lambda: wire.size == size)
            wire.send(OK)

        port = self.mount(script)
        wire = await self.connect(port)
        wire.send(
            b"POST /api HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            % size
        )
        wire.send(b"x" * size)
        await eventually(lambda: self.origin_.wires)
        for _ in range(200):
            await turn()
        queued = [
            len(reader.dataBuffer) + reader._tempDataLen
            for reader in reactor.getReaders()
            if hasattr(reader, "dataBuffer") and "Upstream" in repr(getattr(reader, "protocol", ""))
        ]
        self.assertEqual(len(queued), 1)
        self.assertLess(queued[0], 256 * 1024)
        done.append(True)
        await wire.lost
        self.assertEqual(Response(wire.data).status, 200)

    async def test_body_limit(self):
        port = self.mount(answer(), body_limit=3)
        response = await self.ask(port, "POST /api HTTP/1.1\r\nContent-Length: 4\r\n", b"body")
        self.assertEqual(response.status, 413)

    async def test_early_answer(self):
        async def script(wire):
            await wire.until(b"\r\n\r\n")
            wire.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            wire.transport.loseConnection()

        size = 16 << 20
        port = self.mount(script)
        response = await self.ask(
            port, f"POST /api HTTP/1.1\r\nContent-Length: {size}\r\n", b"x" * size
        )
        self.assertEqual(response.status, 401)

    async def test_connections_are_kept(self):
        port = self.mount(answer())
        for _ in range(3):
            self.assertEqual((await self.ask(port, "GET /api HTTP/1.1")).status, 200)
        self.assertEqual(len(self.origin_.wires), 1)
        self.assertEqual(len(self.origin_.wires[0].heads), 3)

    async def test_client_on_a_unix_socket(self):
        self.mount(answer())
        response = await self.ask_unix(self.factory, "GET /api HTTP/1.1")
        self.assertEqual(response.body, b"ok")
        self.assertEqual(self.received(b"x-forwarded-for"), [b"unknown"])

    async def test_the_whole_server(self):
        port = self.mount(answer(), at=None)
        self.assertEqual((await self.ask(port, "OPTIONS * HTTP/1.1")).status, 200)

    async def test_pipelined(self):
        wire = await self.connect(self.mount(answer()))
        wire.send(b"GET /api HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
        for _ in range(50):
            await wire.until(b"\r\n\r\nok")


class ResponseTests(ResourceCase):
    async def get(self, response, head="GET /api HTTP/1.1", *, close=True, **options):
        async def script(wire):
            wire.heads = [await wire.until(b"\r\n\r\n")]
            wire.send(response)
            if close:
                wire.transport.loseConnection()

        return await self.ask(self.mount(script, **options), head)

    async def test_fields(self):
        response = await self.get(
            b"HTTP/1.1 404 Not Here\r\nContent-Length: 2\r\nSet-Cookie: a=1\r\nServer: secret\r\n"
            b"Connection: x-hop\r\nX-Hop: 1\r\nSet-Cookie: b=2\r\nX-Powered-By: secret\r\n\r\nno",
            response_headers=changes(add=[(b"X-Added", b"yes")]),
        )
        self.assertEqual(response.line, b"HTTP/1.1 404 Not Here")
        self.assertEqual(response.body, b"no")
        self.assertEqual(response.all(b"set-cookie"), [b"a=1", b"b=2"])
        self.assertEqual(response.all(b"x-added"), [b"yes"])
        for name in (b"server", b"x-powered-by", b"x-hop", b"content-type", b"transfer-encoding"):
            self.assertEqual(response.all(name), [], name)
        self.assertEqual(response.all(b"connection"), [b"close"])
        self.assertEqual(len(response.all(b"date")), 1)
        self.assertEqual(len(response.all(b"x-request-id")), 1)
        record = self.log[0]
        self.assertEqual((record[6], record[10], record[15]), (404, b"pool", b"ok"))

    async def test_date_of_the_origin(self):
        date = b"Tue, 15 Nov 1994 08:12:31 GMT"
        response = await self.get(
            b"HTTP/1.1 200 OK\r\nDate: %b\r\nServer: s\r\nContent-Length: 0\r\n\r\n" % date, hide=()
        )
        self.assertEqual(response.all(b"date"), [date])
        self.assertEqual(response.all(b"server"), [b"s"])

    async def test_chunked_once(self):
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        response = await self.get(chunked)
        self.assertEqual(response.all(b"transfer-encoding"), [b"chunked"])
        self.assertEqual(response.chunks, b"ok")
        response = await self.get(chunked, "GET /api HTTP/1.0\r\n")
        self.assertEqual((response.all(b"transfer-encoding"), response.body), ([], b"ok"))

    async def test_until_close(self):
        response = await self.get(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        self.assertEqual(response.chunks, b"all of it")

    async def test_without_body(self):
        response = await self.get(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HEAD /api HTTP/1.1"
        )
        self.assertEqual((response.first(b"content-length"), response.body), (b"9", b""))
        for line in (b"204 No Content", b"304 Not Modified"):
            response = await self.get(b"HTTP/1.1 " + line + b"\r\n\r\n")
            self.assertEqual((response.line, response.body), (b"HTTP/1.1 " + line, b""))

    async def test_early_hints_are_not_the_response(self):
        response = await self.get(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
        self.assertEqual(response.line, b"HTTP/1.1 103 Early Hints")
        self.assertEqual(response.all(b"link"), [b"</a>"])
        self.assertEqual(Response(response.body).status, 200)
        self.assertEqual(Response(response.body).body, b"ok")
        response = await self.get(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK, "GET /api HTTP/1.0\r\n")
        self.assertEqual((response.status, response.body), (200, b"ok"))

    async def test_upgrade_is_not_offered(self):
        response = await self.get(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
            b"Upgrade: websocket\r\n\r\n",
            "GET /api HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
        )
        self.assertEqual(response.status, 502)

    async def test_streams(self):
        go_on = Deferred()

        async def script(wire):
            await wire.until(b"\r\n\r\n")
            wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent\r\n")
            await go_on
            wire.send(b"0\r\n\r\n")

        wire = await self.connect(self.mount(script))
        wire.send(b"GET /api HTTP/1.1\r\nHost: a\r\n\r\n")
        await wire.until(b"5\r\nevent\r\n")
        go_on.callback(None)
        await wire.until(b"0\r\n\r\n")

    async def test_client_that_does_not_read(self):
        """What the origin may send is bounded, and all of it arrives in the end."""
        size = 32 << 20

        async def script(wire):
            await wire.until(b"\r\n\r\n")
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            wire.send(b"x" * size)

        wire = await self.connect(self.mount(script))
        wire.transport.pauseProducing()
        wire.send(b"GET /api HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await eventually(lambda: self.origin_.wires)
        (origin,) = self.origin_.wires
        for _ in range(500):
            await turn()
        queue = origin.transport
        self.assertGreater(len(queue.dataBuffer) - queue.offset + queue._tempDataLen, size // 2)
        wire.transport.resumeProducing()
        await wire.lost
        self.assertEqual(len(Response(wire.data).body), size)


class FailureTests(ResourceCase):
    async def get(self, script, head="GET /api HTTP/1.1", **options):
        return await self.ask(self.mount(script, **options), head)

    async def test_origin_that_accepts_and_closes(self):
        async def script(wire):
            wire.transport.loseConnection()

        self.assertEqual((await self.get(script)).status, 502)
        self.assertEqual(self.log.reasons, [b"reset"])

    async def test_no_origin(self):
        port = reactor.listenTCP(0, Site(Resource()), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        response = await self.get(None, url=f"http://127.0.0.1:{number}")
        self.assertEqual(response.status, 502)
        self.assertNotIn(b"%d" % number, response.body)
        self.assertEqual(self.log.reasons, [b"connect_refused"])

    async def test_origin_that_never_answers(self):
        async def script(wire):
            await wire.lost

        response = await self.get(script, pool_options={"first_byte": 0.05})
        self.assertEqual(response.status, 504)
        self.assertEqual(self.log.reasons, [b"first_byte_timeout"])

    async def test_bad_response(self):
        self.assertEqual((await self.get(answer(b"HTTP/1.1 200 OK\r\nbad\r\n\r\n"))).status, 502)

    async def truncated(self, head, end, request="GET /api HTTP/1.1"):
        """A wire that has got all there is of a response that ends too early."""

        async def script(wire):
            await wire.until(b"\r\n\r\n")
            wire.send(head)
            await go_on
            getattr(wire.transport, end)()

        go_on = Deferred()
        wire = await self.connect(self.mount(script))
        wire.send(f"{request}\r\nHost: a\r\n\r\n".encode())
        await wire.until(b"half")
        go_on.callback(None)
        await wire.lost
        self.assertIn(self.log.reasons, ([b"truncated"], [b"reset"]))
        return wire

    async def test_truncated_length(self):
        wire = await self.truncated(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "loseConnection"
        )
        self.assertEqual(wire.data, b"")

    async def test_truncated_chunks(self):
        wire = await self.truncated(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "loseConnection"
        )
        self.assertEqual(wire.data, b"\r\n")  # and no last chunk

    async def test_reset_until_close(self):
        wire = await self.truncated(b"HTTP/1.1 200 OK\r\n\r\nhalf", "abortConnection")
        self.assertEqual(wire.data, b"\r\n")

    async def test_reset_for_http_1_0(self):
        for head, end in (
            (b"HTTP/1.1 200 OK\r\n\r\nhalf", "abortConnection"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "loseConnection"),
        ):
            wire = await self.truncated(head, end, "GET /api HTTP/1.0")
            self.assertIn("non-clean", str(wire.gone.value))

    async def test_client_gone_stops_the_origin(self):
        for begun in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"):
            await self.client_gone(begun)

    async def client_gone(self, begun):
        async def script(wire):
            await wire.until(b"\r\n\r\n")
            wire.send(begun)
            got.append(wire)

        got = []
        wire = await self.connect(self.mount(script))
        wire.send(b"GET /api HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: got)
        if begun:
            await wire.until(b"half")
        wire.transport.abortConnection()
        await got[0].lost
        self.assertEqual(self.log.reasons, [b"client_aborted"])

    async def test_client_gone_in_the_middle_of_a_body(self):
        async def script(wire):
            wire.transport.pauseProducing()
            got.append(wire)

        got = []
        size = 32 << 20
        wire = await self.connect(self.mount(script))
        wire.send(b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        wire.send(b"x" * size)
        await eventually(lambda: got)
        for _ in range(50):
            await turn()
        wire.transport.abortConnection()
        await eventually(lambda: self.log)
        self.assertEqual(self.log.reasons, [b"client_aborted"])

    async def test_origin_gone_in_the_middle_of_a_body(self):
        async def script(wire):
            wire.transport.abortConnection()

        size = 16 << 20
        response = await self.ask(
            self.mount(script), f"POST /api HTTP/1.1\r\nContent-Length: {size}\r\n", b"x" * size
        )
        self.assertEqual(response.status, 502)


class TreeTests(ResourceCase):
    async def test_configuration(self):
        origin = self.origin(answer())
        graph, log = self.graph(
            f"""
            version = 1
            [listeners.http]
            bind = ["127.0.0.1:8080"]
            [pools.app]
            backends = ["http://127.0.0.1:{origin.port}"]
            [[routes]]
            name = "moved"
            match = {{ path = "/old/*" }}
            redirect = {{ to = "/new/{{path}}" }}
            [[routes]]
            name = "data"
            match = {{ path = "/data" }}
            resource = "tests.test_resource:data"
            [[routes]]
            name = "app"
            match = {{ path = "/app/*" }}
            pool = "app"
            """
        )
        resource = graph.resource()
        verifyObject(IResource, resource)
        port = self.listen(self.stock(resource))
        response = await self.ask(port, "GET /app/ HTTP/1.1")
        self.assertEqual((response.status, response.body), (200, b"ok"))
        response = await self.ask(port, "GET /old/x HTTP/1.1")
        self.assertEqual((response.status, response.first(b"location")), (308, b"/new/x"))
        response = await self.ask(port, "POST /data HTTP/1.1\r\nContent-Length: 4\r\n", b"body")
        self.assertEqual(response.body, b"read body")
        response = await self.ask(port, "GET /none HTTP/1.1")
        self.assertEqual(response.status, 404)
        response = await self.ask(
            port, "GET /app/ HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        )
        self.assertEqual(response.status, 200)
        self.assertNotIn(b"Upgrade", origin.wires[0].heads[-1])
        self.assertEqual(log.reasons, [b"ok", b"redirected", b"resource", b"no_route", b"ok"])


class _Data(Resource):
    isLeaf = True

    def render_POST(self, request):
        return b"read " + request.content.read()


data = _Data


KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\n\r\nkept"


class CacheTests(Sockets, TestCase):
    async def cached(self, response, **options):
        """The port of a resource with a cache, and the cache."""
        self.backend = self.origin(answer(response))
        cache = response_cache(self.mktemp(), reactor=reactor, **options)
        pool = backend_pool(f"http://127.0.0.1:{self.backend.port}", reactor=reactor)
        self.addCleanup(pool.close)
        self.log = Log()
        root = Resource()
        root.putChild(b"api", ReverseProxyResource(pool, cache=cache, log=self.log))
        site = Site(root, reactor=reactor)
        site.startFactory = site.stopFactory = lambda: None
        await eventually(lambda: cache._store.writer.storing)
        return self.listen(site), cache

    async def test_hit(self):
        port, cache = await self.cached(KEPT.replace(b"\r\n\r\n", b"\r\nSurrogate-Key: a\r\n\r\n"))
        self.addCleanup(cache.close)
        for _ in range(3):
            response = await self.ask(port, "GET /api/x HTTP/1.1")
            self.assertEqual((response.status, response.body), (200, b"kept"))
            self.assertIsNone(response.first(b"surrogate-key"))
        head = await self.ask(port, "HEAD /api/x HTTP/1.1")
        self.assertEqual((head.first(b"content-length"), head.body), (b"4", b""))
        self.assertEqual([dict(record[-1]) for record in self.log][1:], [{b"cache": b"hit"}] * 3)
        self.assertEqual(len(self.backend.wires[0].heads), 1)

    async def test_large_bodies_come_from_the_disk(self):
        body = bytes(range(256)) * 4096
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nCache-Control: max-age=60\r\n\r\n"
        port, cache = await self.cached(head % len(body) + body, memory=0)
        self.addCleanup(cache.close)
        for _ in range(2):
            self.assertEqual((await self.ask(port, "GET /api/x HTTP/1.1")).body, body)
        self.assertEqual(len(self.backend.wires[0].heads), 1)

    async def test_default_ttl(self):
        port, cache = await self.cached(OK, default_ttl=60)
        self.addCleanup(cache.close)
        for _ in range(2):
            await self.ask(port, "GET /api/x HTTP/1.1")
        self.assertEqual(len(self.backend.wires[0].heads), 1)

    async def test_it_outlives_its_process(self):
        port, cache = await self.cached(KEPT)
        await self.ask(port, "GET /api/x HTTP/1.1")
        await cache.close()
        again = response_cache(cache._store.folder.path, reactor=reactor)
        self.addCleanup(again.close)
        self.assertEqual(repr(again), f"<ResponseCache {cache._store.folder.path}>")
        pool = backend_pool("http://127.0.0.1:1", reactor=reactor)
        self.addCleanup(pool.close)
        site = Site(ReverseProxyResource(pool, cache=again), reactor=reactor)
        site.startFactory = site.stopFactory = lambda: None
        moved = self.listen(site)
        response = await self.ask(moved, "GET /api/x HTTP/1.1")
        self.assertEqual((response.status, response.body), (200, b"kept"))


class UnitTests(SynchronousTestCase):
    def test_is_a_resource(self):
        resource = ReverseProxyResource(backend_pool("http://127.0.0.1:1", reactor=Clock()))
        verifyObject(IResource, resource)
        self.assertTrue(resource.isLeaf)
        self.assertIs(resource.getChildWithDefault(b"x", None), resource)
        with self.assertRaises(TypeError):
            resource.putChild(b"x", Resource())

    def test_pool(self):
        pool = backend_pool("http://127.0.0.1:1", "unix:/run/app.sock", reactor=Clock(), name="app")
        self.assertEqual(repr(pool), "<BackendPool <Pool app of 2>>")
        pool.close()

    def test_bad_pools(self):
        for urls, options, said in (
            ((), {}, "at least one backend"),
            (("ftp://a",), {}, "'ftp://a' is no URL of a backend"),
            (("http://a/path",), {}, "no place in it"),
            (("https://a",), {"ca": "/nowhere"}, "ca: cannot be read: No such file"),
            (("https://a",), {"cert": "/nowhere"}, "cert: cannot be read: No such file"),
            (("http://a",), {"connect": 0}, "longer than 0 seconds"),
        ):
            with self.assertRaisesRegex(ValueError, said):
                backend_pool(*urls, reactor=Clock(), **options)

    def test_below(self):
        for path, prepath, expected in (
            (b"/api/x", [b"api"], True),
            (b"/api", [b"api"], True),
            (b"/apix", [b"api"], False),
            (b"/", [], True),
            (b"*", [b"api"], True),
            (b"/a%20b/x", [b"a b"], True),
            (b"/x", [b".."], False),
        ):
            self.assertIs(is_below(path, prepath), expected, (path, prepath))
