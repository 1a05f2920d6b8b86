"""1xx responses: 100-continue from end to end, early hints, and how many are borne."""

import socket

from tests.scenarios.harness import EMPTY_OK, GET, Scenario, ok

EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ContinueTests(Scenario):
    async def test_origin_says_continue(self):
        origin, _proxy, client = await self.pair()
        client.send(EXPECTING)
        head = await origin.head()
        self.assertEqual(head.get(b"expect"), b"100-continue")
        await self.turns()
        self.assertEqual(client.total, 0)  # the proxy does not answer for the origin
        origin.reply(CONTINUE)
        self.assertEqual((await client.response()).status, 100)
        client.send(b"hello")
        self.assertEqual(await origin.wire.exactly(5), b"hello")
        origin.reply(ok(b"done"))
        response = await client.response()
        self.assertEqual(response.body, b"done")
        self.assertIsNone(response.get(b"connection"))
        await self.exchange(client, origin)

    async def test_origin_refuses_without_continue(self):
        for status in (b"417 Expectation Failed", b"413 Content Too Large"):
            origin, _proxy, client = await self.pair()
            client.send(EXPECTING)
            await origin.head()
            origin.reply(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
            response = await client.response()
            self.assertEqual(response.start, b"HTTP/1.1 " + status)
            # Whether the body follows is anyone's guess, so nothing else may.
            self.assertEqual(response.get(b"connection"), b"close")
            await client.closing()

    async def test_client_does_not_wait(self):
        origin, _proxy, client = await self.pair()
        client.send(EXPECTING + b"hello")
        seen = await origin.request()
        self.assertEqual(seen.body, b"hello")
        origin.reply(EMPTY_OK)
        response = await client.response()
        self.assertEqual(response.status, 200)
        self.assertIsNone(response.get(b"connection"))
        await self.exchange(client, origin)

    async def test_client_stops_waiting(self):
        origin, _proxy, client = await self.pair()
        client.send(EXPECTING)
        await origin.head()
        client.send(b"hello")
        self.assertEqual(await origin.wire.exactly(5), b"hello")
        origin.reply(CONTINUE + EMPTY_OK)
        self.assertEqual((await client.response()).status, 100)
        self.assertEqual((await client.response()).status, 200)
        await self.exchange(client, origin)

    async def test_http_10_client_is_never_told_to_continue(self):
        origin, _proxy, client = await self.pair()
        client.send(EXPECTING.replace(b"HTTP/1.1", b"HTTP/1.0") + b"hello")
        seen = await origin.request()
        self.assertIsNone(seen.get(b"expect"))
        origin.reply(CONTINUE + EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_proxys_own_answer_closes(self):
        origin, _proxy, client = await self.pair(policy='body_limit = "4B"')
        response = await self.ask(client, EXPECTING)
        self.assertEqual(response.status, 413)
        self.assertEqual(response.get(b"connection"), b"close")
        await client.closing()
        self.assertEqual(origin.wires, [])

    async def test_unknown_expectation(self):
        _, _, client = await self.pair()
        response = await self.ask(client, EXPECTING.replace(b"100-continue", b"200-ok"))
        self.assertEqual(response.status, 417)


class HintsTests(Scenario):
    async def test_hints_that_a_client_does_not_take_leave_the_backend_fit(self):
        origin = await self.origin()
        proxy = await self.proxy(origin)
        client = await self.client(proxy, receive_buffer=4096)
        client.stop_reading()
        client.send(GET)
        await origin.request()
        (downstream,) = proxy.site.connections
        downstream.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        origin.reply(ok(bytes(50_000)))
        await proxy.log.record()
        client.send(GET)
        await origin.request()
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 50_000 + b"\r\n\r\n"
        origin.reply(hints + EMPTY_OK)
        await proxy.log.record(2)
        client.read_again()
        for status in (200, 103, 200):
            self.assertEqual((await client.response()).status, status)
        await self.exchange(client, origin)
        self.assertEqual(len(origin.wires), 1)

    HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\nX: 1\r\n\r\n"

    async def test_early_hints_are_forwarded(self):
        for together in (True, False):
            origin, _proxy, client = await self.pair()
            client.send(GET)
            await origin.request()
            origin.reply(self.HINTS + (EMPTY_OK if together else b""))
            hints = await client.response()
            self.assertEqual(hints.start, b"HTTP/1.1 103 Early Hints")
            self.assertEqual(hints.get(b"link"), b"</a.css>")
            self.assertIsNone(hints.get(b"x"))
            if not together:
                origin.reply(EMPTY_OK)
            self.assertEqual((await client.response()).status, 200)

    async def test_http_10_client_is_spared(self):
        origin, _proxy, client = await self.pair()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        await origin.request()
        origin.reply(self.HINTS + EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_some_in_a_row_pass_and_a_flood_does_not(self):
        origin, _proxy, client = await self.pair()
        client.send(GET)
        await origin.request()
        origin.reply(self.HINTS * 20 + EMPTY_OK)
        for _ in range(20):
            self.assertEqual((await client.response()).status, 103)
        self.assertEqual((await client.response()).status, 200)
        client.send(GET)
        await origin.request()
        origin.reply(self.HINTS * 1000)
        seen = 0
        while (response := await client.response()).status == 103:
            seen += 1
        self.assertEqual(response.status, 502)
        self.assertLess(seen, 100)
