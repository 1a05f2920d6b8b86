"""Responses that do not wait for the end of the request body."""

from tests.scenarios.harness import GET, MIB, Refusing, Scenario
from tests.scenarios.wire import CLOSED

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"


class EarlyTests(Scenario):
    async def test_length_beyond_the_limit_is_413_before_the_body(self):
        origin, proxy, client = await self.pair(policy='body_limit = "10B"')
        response = await self.ask(client, POST + b"Content-Length: 11\r\n\r\n")
        self.assertEqual(response.status, 413)
        self.assertEqual(response.get(b"connection"), b"close")
        self.assertEqual((await proxy.log.record()).reason, b"body_too_large")
        client.send(b"x" * 11 + GET)
        self.assertEqual(await client.everything(), b"")
        self.assertEqual(origin.wires, [])
        self.assertEqual(len(proxy.log.records), 1)

    async def test_chunked_body_beyond_the_limit_is_413_where_it_passes_it(self):
        origin, _proxy, client = await self.pair(policy='body_limit = "10B"')
        client.send(CHUNKED + b"5\r\nhello\r\n")
        await origin.head()
        client.send(b"6\r\nworld!\r\n")
        response = await client.response()
        self.assertEqual(response.status, 413)
        await origin.wire.closing()
        self.assertNotIn(b"0\r\n\r\n", origin.wire.received)

    async def test_limit_passed_in_one_piece_reaches_no_origin(self):
        origin, _proxy, client = await self.pair(policy='body_limit = "10B"')
        response = await self.ask(client, CHUNKED + b"b\r\nhello world\r\n0\r\n\r\n" + GET)
        self.assertEqual(response.status, 413)
        await self.turns()
        self.assertEqual(sum(wire.total for wire in origin.wires if b"POST" in wire.received), 0)

    async def test_body_at_the_limit_passes(self):
        origin, _proxy, client = await self.pair(policy='body_limit = "10B"')
        request = POST + b"Content-Length: 10\r\n\r\n0123456789"
        _, response = await self.exchange(client, origin, request)
        self.assertEqual(response.status, 200)

    async def test_answer_meanwhile_and_the_rest_is_drained(self):
        origin, proxy, client = await self.pair()
        client.send(POST + b"Content-Length: 100000\r\n\r\n")
        client.send(b"x" * 1000)
        await origin.head()
        origin.reply(UNAUTHORIZED)
        response = await client.response()
        self.assertEqual(response.status, 401)
        self.assertIsNone(response.get(b"connection"))
        await origin.wire.closing()  # half a request is no state to go on from
        client.send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".ljust(99_000, b"x"))
        seen, response = await self.exchange(client, origin)
        self.assertEqual(seen.start, b"GET / HTTP/1.1")
        self.assertEqual(response.status, 200)
        self.assertEqual(proxy.log.reasons, [b"ok", b"ok"])

    async def test_chunked_rest_is_drained(self):
        origin, _proxy, client = await self.pair()
        client.send(CHUNKED + b"5\r\nhello\r\n")
        await origin.head()
        origin.reply(UNAUTHORIZED)
        self.assertEqual((await client.response()).status, 401)
        await origin.wire.closing()
        client.send(b"5\r\nworld\r\n0\r\nX-Trailer: 1\r\n\r\n")
        await self.exchange(client, origin)

    async def test_too_much_of_a_rest_closes(self):
        origin, proxy, client = await self.pair()
        client.send(POST + b"Content-Length: %d\r\n\r\n" % (100 * MIB))
        await origin.head()
        origin.reply(UNAUTHORIZED)
        self.assertEqual((await client.response()).status, 401)
        sent = 0
        while not client.over:
            client.send(bytes(64 * 1024))
            sent += 64 * 1024
            await self.turns(1)
        self.assertLess(sent, 16 * MIB)
        self.assertEqual(client.received, b"")
        self.assertEqual(proxy.log.reasons, [b"ok"])

    async def test_client_that_writes_on_can_read_the_refusal(self):
        _origin, _proxy, client = await self.pair(policy='body_limit = "10B"')
        client.send(POST + b"Content-Length: 1000000\r\n\r\n" + bytes(1_000_000))
        await client.taken()
        response = await client.response()
        self.assertEqual(response.status, 413)
        self.assertEqual(await client.ended(), CLOSED)

    async def test_502_meanwhile(self):
        refusing = Refusing()
        self.addCleanup(refusing.close)
        proxy = await self.proxy(refusing.url)
        client = await self.client(proxy)
        client.send(POST + b"Content-Length: 100000\r\n\r\n" + bytes(1000))
        response = await client.response()
        self.assertEqual(response.status, 502)
        client.send(bytes(99_000) + GET)
        self.assertEqual((await client.response()).status, 502)
        self.assertEqual(proxy.log.reasons, [b"connect_refused"] * 2)

    async def test_origin_that_answers_and_closes(self):
        origin, _proxy, client = await self.pair()
        client.send(POST + b"Content-Length: 100000\r\n\r\n" + bytes(1000))
        await origin.head()
        origin.reply(UNAUTHORIZED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        origin.wire.close()
        self.assertEqual((await client.response()).status, 401)
        client.send(bytes(99_000))
        await self.exchange(client, origin)

    async def test_bad_body_after_the_answer_closes_in_silence(self):
        origin, proxy, client = await self.pair()
        client.send(CHUNKED + b"5\r\nhello\r\n")
        await origin.head()
        origin.reply(UNAUTHORIZED)
        self.assertEqual((await client.response()).status, 401)
        client.send(b"zz\r\n")
        self.assertEqual(await client.everything(), b"")
        self.assertEqual(proxy.log.reasons, [b"ok"])

    async def test_response_begun_before_the_request_ended(self):
        origin, _proxy, client = await self.pair()
        client.send(CHUNKED + b"5\r\nhello\r\n")
        await origin.head()
        origin.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        head = await client.head()
        self.assertEqual(head.status, 200)
        self.assertEqual(await client.exactly(6), b"1\r\na\r\n")
        client.send(b"5\r\nworld\r\n0\r\n\r\n")
        wire = origin.wire
        self.assertEqual(await wire.up_to(b"0\r\n\r\n"), b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n")
        origin.reply(b"0\r\n\r\n")
        self.assertEqual(await client.exactly(5), b"0\r\n\r\n")
        await self.exchange(client, origin)
        self.assertEqual(len(origin.wires), 1)

    async def test_refused_request_says_that_the_connection_closes(self):
        _, proxy, client = await self.pair()
        response = await self.ask(client, b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(response.status, 400)
        self.assertEqual(response.get(b"connection"), b"close")
        client.send(GET)
        self.assertEqual(await client.everything(), b"")
        self.assertEqual(proxy.log.reasons, [b"bad_host"])
