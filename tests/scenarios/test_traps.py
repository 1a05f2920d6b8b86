"""What twisted.web gets wrong as a proxy, and what it accepts as a server: each one a case.

``twisted.web.proxy.ReverseProxyResource`` and ``twisted.web.http`` were probed with these; the
docstring of each test names what was found there.
"""

from tests.scenarios.harness import EMPTY_OK, GET, MIB, Refusing, Scenario, ok
from tests.scenarios.wire import RESET

CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class ReverseProxyTraps(Scenario):
    async def test_chunked_post(self):
        """Forwarded as HTTP/1.0 with Transfer-Encoding and the de-chunked body."""
        origin, _, client = await self.pair()
        client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1a\r\nGET /evil HTTP/1.1\r\nX: y\r\n\r\n0\r\n\r\n"
        )
        seen = await origin.request()
        self.assertEqual(seen.start, b"POST / HTTP/1.1")
        self.assertEqual(seen.all(b"transfer-encoding"), [b"chunked"])
        self.assertEqual(seen.body, b"GET /evil HTTP/1.1\r\nX: y\r\n")

    async def test_origin_that_accepts_and_closes(self):
        """Gave the client 200 OK without a body."""
        origin, _, client = await self.pair()
        origin.prepare = lambda wire: setattr(wire, "connectionMade", wire.close)
        response = await self.ask(client, GET)
        self.assertEqual(response.status, 502)

    async def test_truncated_body_until_close(self):
        """Got a clean terminator."""
        origin, _, client = await self.pair()
        client.send(GET)
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await client.until(lambda: client.total, "the beginning")
        origin.wire.reset()
        self.assertFalse((await client.cut_response()).whole)

    async def test_chunked_response(self):
        """Was chunked twice."""
        origin, _, client = await self.pair()
        _, response = await self.exchange(client, origin, GET, CHUNKED_OK + b"2\r\nhi\r\n0\r\n\r\n")
        self.assertEqual(response.body, b"hi")

    async def test_early_hints(self):
        """Were taken as the final response."""
        origin, _, client = await self.pair()
        client.send(GET)
        await origin.request()
        origin.reply(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok(b"final"))
        self.assertEqual((await client.response()).status, 103)
        self.assertEqual((await client.response()).body, b"final")

    async def test_repeated_request_fields(self):
        """Collapsed to the last."""
        origin, _, client = await self.pair()
        seen, _ = await self.exchange(client, origin, GET[:-2] + b"A: 1\r\nA: 2\r\n\r\n")
        self.assertEqual(seen.all(b"a"), [b"1", b"2"])

    async def test_te_and_upgrade(self):
        """Were forwarded, and the origin's Connection relayed."""
        origin, _, client = await self.pair()
        request = GET[:-2] + b"TE: gzip\r\nUpgrade: x\r\n\r\n"
        reply = ok(b"", b"Connection: x-secret", b"X-Secret: 1")
        seen, response = await self.exchange(client, origin, request, reply)
        self.assertEqual((seen.all(b"te"), seen.all(b"upgrade")), ([], []))
        self.assertEqual((response.all(b"connection"), response.all(b"x-secret")), ([], []))

    async def test_forwarding_fields(self):
        """Were missing, and spoofed ones passed."""
        origin, _, client = await self.pair()
        seen, _ = await self.exchange(
            client, origin, GET[:-2] + b"X-Forwarded-For: 6.6.6.6\r\nVia: 1.0 fake\r\n\r\n"
        )
        self.assertEqual(seen.all(b"x-forwarded-for"), [b"127.0.0.1"])
        self.assertEqual(seen.all(b"via"), [b"1.1 txrproxy"])
        self.assertEqual(len(seen.all(b"forwarded")), 1)

    async def test_target(self):
        """Was unquoted and requoted, lost an empty query, and climbed out of its mount."""
        origin, _, client = await self.pair(route='rewrite = { strip_prefix = "/app" }')
        for target, sent in (
            (b"/app/a;x=1@c,d", b"/a;x=1@c,d"),
            (b"/app/a?", b"/a?"),
            (b"/app/a%2fb%20c", b"/a%2fb%20c"),
        ):
            seen, _ = await self.exchange(
                client, origin, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            self.assertEqual(seen.target, sent)
        response = await self.ask(client, b"GET /app/../../x HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(response.status, 400)

    async def test_dot_segments_do_not_leave_the_mount(self):
        """The path is matched below /app, so what is sent may not be outside of it."""
        origin = await self.origin()
        proxy = await self.proxy(
            toml=f"""
                version = 1
                [listeners.http]
                bind = ["127.0.0.1:0"]
                [pools.app]
                backends = ["{origin.url}"]
                [[routes]]
                name = "app"
                match = {{ path = "/app/*" }}
                pool = "app"
                rewrite = {{ strip_prefix = "/app", prefix = "/inner" }}
            """
        )
        client = await self.client(proxy)
        response = await self.ask(client, b"GET /app/../secret HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(response.status, 404)
        self.assertEqual(origin.wires, [])

    async def test_backpressure(self):
        """64 MiB were drawn for a client that reads nothing."""
        origin, _proxy, client = await self.pair()
        client.stop_reading()
        client.send(GET)
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        sent = 0
        for _ in range(3000):
            if not origin.wire.blocked:
                origin.wire.send(bytes(64 * 1024))
                sent += 64 * 1024
            await self.turns(1)
        self.assertLess(sent, 24 * MIB)

    async def test_client_abort(self):
        """Did not stop the origin."""
        origin, _, client = await self.pair()
        client.send(GET)
        await origin.request()
        client.close()
        self.assertEqual(await origin.wire.ended(), RESET)

    async def test_origin_that_never_answers(self):
        """Kept the client for ever."""
        origin, proxy, client = await self.pair(timed=True)
        client.send(GET)
        await origin.request()
        proxy.wait(31)
        self.assertEqual((await client.response()).status, 504)

    async def test_connect_failure(self):
        """Gave 501."""
        refusing = Refusing()
        self.addCleanup(refusing.close)
        client = await self.client(await self.proxy(refusing.url))
        self.assertEqual((await self.ask(client, GET)).status, 502)


class ServerTraps(Scenario):
    async def refused(self, request, status=400):
        origin, proxy, client = await self.pair()
        client.send(request)
        response = await client.response()
        self.assertEqual(response.status, status, request)
        self.assertEqual(response.get(b"connection"), b"close")
        self.assertEqual(await client.everything(), b"", request)
        await self.turns(5)
        self.assertEqual(sum(wire.total for wire in origin.wires), 0, request)
        self.assertEqual(len(proxy.log.records), 1)

    async def test_body_that_a_response_did_not_wait_for(self):
        """Was parsed as a new request."""
        origin, proxy, client = await self.pair()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 37\r\n\r\n")
        await origin.head()
        origin.reply(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual((await client.response()).status, 401)
        client.send(b"GET /smuggled HTTP/1.1\r\nHost: a.b\r\n\r\n")
        await self.exchange(client, origin)
        self.assertEqual([record.target for record in proxy.log.records], [b"/", b"/"])

    async def test_rejected_there_and_here(self):
        """CL+TE, repeated or listed CL, signs, unknown TE, spaces before colons, bare CR or LF."""
        start = b"POST / HTTP/1.1\r\nHost: a\r\n"
        for block in (
            b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            b"Content-Length: 3, 3\r\n\r\nabc",
            b"Content-Length: +3\r\n\r\nabc",
            b"Content-Length: -3\r\n\r\nabc",
            b"Content-Length: 0x3\r\n\r\nabc",
            b"Content-Length: \r\n\r\n",
            b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            b"Content-Length : 3\r\n\r\nabc",
            b"X: a\rb\r\n\r\n",
            b"X: a\nY: b\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\nx\r\n0\r\n\r\n",
        ):
            await self.refused(start + block)

    async def test_accepted_there_and_not_here(self):
        """No Host or two, a Host that differs, odd bytes in targets, controls, folds, old TE."""
        for request in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\xb0 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
            b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n"
            b"Content-Length: 3\r\n\r\nabc",
        ):
            await self.refused(request)

    async def test_connection_close_in_a_list(self):
        """Was not recognised."""
        origin, _, client = await self.pair()
        _, response = await self.exchange(
            client, origin, GET[:-2] + b"Connection: close,foo\r\n\r\n"
        )
        self.assertEqual(response.get(b"connection"), b"close")
        await client.closing()

    async def test_expect_continue(self):
        """Was always answered at once."""
        origin, _, client = await self.pair()
        client.send(
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        )
        await origin.head()
        await self.turns()
        self.assertEqual(client.total, 0)
        origin.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_byte_now_and_then_does_not_hold_a_connection(self):
        """Any byte reset the timer."""
        _origin, proxy, client = await self.pair(timed=True)
        for _number in range(12):
            client.send(b"G")
            await self.turns(5)
            proxy.wait(1)
        self.assertEqual((await client.response()).status, 408)

    async def test_client_that_takes_nothing(self):
        """Was kept for ever: no timer ran while a request was in flight."""
        origin, proxy, client = await self.pair(timed=True)
        client.stop_reading()
        client.send(GET)
        await origin.request()
        origin.reply(ok(bytes(20 * MIB)))
        (downstream,) = proxy.site.connections
        await self.until(lambda: downstream._writing, "the client to be the slow side")
        proxy.wait(125)
        await self.until(lambda: proxy.graph.busy == 0, "the connection to be cut")


class PoolTraps(Scenario):
    """``twisted.web.client.HTTPConnectionPool``."""

    async def test_response_before_the_request_body_has_gone_out(self):
        """Stalled."""
        origin, _, client = await self.pair()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx")
        await origin.head()
        origin.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        self.assertEqual((await client.head()).status, 200)
        self.assertEqual(await client.exactly(1), b"o")
        origin.reply(b"k")
        self.assertEqual(await client.exactly(1), b"k")

    async def test_switching_protocols(self):
        """Was swallowed."""
        origin, _, client = await self.pair()
        client.send(GET[:-2] + b"Connection: upgrade\r\nUpgrade: x\r\n\r\n")
        await origin.head()
        origin.reply(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n!"
        )
        self.assertEqual((await client.response()).status, 101)
        self.assertEqual(await client.exactly(1), b"!")

    async def test_bytes_after_a_response(self):
        """Were ignored, and the connection pooled again."""
        origin, _proxy, client = await self.pair()
        await self.exchange(client, origin, GET, ok(b"a") + ok(b"evil"))
        _, response = await self.exchange(client, origin, GET, ok(b"b"))
        self.assertEqual(response.body, b"b")
        self.assertEqual(len(origin.wires), 2)

    async def test_connection_close_with_a_capital(self):
        """Was pooled."""
        origin, proxy, client = await self.pair()
        await self.exchange(client, origin, GET, ok(b"a", b"Connection: Close"))
        self.assertEqual(proxy.idle(), 0)

    async def test_endless_response_head(self):
        """Had no limit."""
        origin, _, client = await self.pair()
        client.send(GET)
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 100_000)
        self.assertEqual((await client.response()).status, 502)
