"""The slow side sets the pace: reading stops where writing does, and memory stays bounded."""

import socket
import tracemalloc

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.scenarios.harness import EMPTY_OK, GET, MIB, Scenario
from txrproxy.transport.upstream import Upstream

# What two sockets of the kernel may hold at both ends, and the proxy itself.
HELD = 24 * MIB
BODY = 100 * MIB
PIECE = bytes(64 * 1024)


class BackpressureTests(Scenario):
    async def fill(self, wire, counter):
        """Send until the far end takes no more; the number of bytes that were taken."""
        still = 0
        while still < 20:
            if wire.blocked:
                still += 1
                await deferLater(reactor, 0.005, lambda: None)
            else:
                still = 0
                wire.send(PIECE)
                counter[0] += len(PIECE)
                self.assertLess(counter[0], BODY)
                await deferLater(reactor, 0, lambda: None)
        return counter[0]

    async def test_client_that_stops_reading_stops_the_origin(self):
        origin, _proxy, client = await self.pair()
        client.stop_reading()
        client.send(GET)
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        sent = await self.fill(origin.wire, [0])
        self.assertLess(sent, HELD)
        self.assertLess(tracemalloc.get_traced_memory()[1], 4 * MIB)
        tracemalloc.stop()
        client.read_again()
        await self.rest(origin.wire, BODY - sent, self.later(client.response(keep=False)))

    async def test_origin_that_stops_reading_stops_the_client(self):
        for framing in (b"Content-Length: %d\r\n\r\n" % BODY, b""):
            origin, _proxy, client = await self.pair()
            if not framing:
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                client.send(b"%x\r\n" % BODY)
            else:
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing)
            await origin.head()
            origin.wire.stop_reading()
            sent = await self.fill(client, [0])
            self.assertLess(sent, HELD)
            origin.wire.reset()
            response = await client.response()
            self.assertEqual(response.status, 502)
            client.reset()

    async def test_backend_that_is_full_from_the_first_byte(self):
        make = Upstream.makeConnection

        def make_narrow(upstream, transport):
            transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            make(upstream, transport)

        self.patch(Upstream, "makeConnection", make_narrow)
        origin = await self.origin()
        origin.port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        proxy = await self.proxy(origin)
        client = await self.client(proxy)
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % BODY
        # So much of the body comes along with the head that the new connection can not take it.
        client.send(head + bytes(60_000))
        wire = await origin.accept()
        wire.stop_reading()
        sent = await self.fill(client, [60_000])
        self.assertLess(sent, HELD)
        (downstream,) = proxy.site.connections
        self.assertLess(len(downstream.exchange.upstream.transport.dataBuffer), MIB)

    async def rest(self, wire, left, receiving):
        while left:
            await wire.taken()
            piece = PIECE[: min(left, len(PIECE))]
            wire.send(piece)
            left -= len(piece)
        message = await receiving
        self.assertEqual(message.size, BODY)

    async def test_large_response_in_bounded_memory(self):
        origin, _proxy, client = await self.pair()
        client.send(GET)
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        await self.rest(origin.wire, BODY, self.later(client.response(keep=False)))
        self.assertLess(tracemalloc.get_traced_memory()[1], 8 * MIB)

    async def test_large_request_in_bounded_memory(self):
        origin, _proxy, client = await self.pair()
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % BODY)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        await self.rest(client, BODY, self.later(origin.request(keep=False)))
        self.assertLess(tracemalloc.get_traced_memory()[1], 8 * MIB)
        tracemalloc.stop()
        origin.reply(EMPTY_OK)
        await client.response()

    async def test_client_that_stops_and_goes_gets_every_byte(self):
        origin, _proxy, client = await self.pair()
        client.send(GET)
        await origin.request()
        size = 16 * MIB
        body = b"".join(b"%07d\n" % n for n in range(size // 8))
        origin.reply(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body)
        await client.until(lambda: client.total, "the beginning")
        for _ in range(20):
            client.stop_reading()
            await self.turns(3)
            client.read_again()
            await self.turns(1)
        response = await client.response()
        self.assertTrue(response.body == body)
        # The connection to the origin is fit for another exchange.
        await self.exchange(client, origin)
        self.assertEqual(len(origin.wires), 1)
