"""How long is the body: every framing on either side, and what becomes of one that is cut short."""

import hashlib

from tests.scenarios.harness import EMPTY_OK, GET, Scenario, ok
from tests.scenarios.wire import CLOSED, RESET

GET_10 = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"


class RequestBodyTests(Scenario):
    async def test_content_length(self):
        origin, _, client = await self.pair()
        client.send(POST + b"Content-Length: 10\r\n\r\nabc")
        head = await origin.head()
        self.assertEqual(head.get(b"content-length"), b"10")
        self.assertEqual(await origin.wire.exactly(3), b"abc")
        client.send(b"defghij")
        self.assertEqual(await origin.wire.exactly(7), b"defghij")
        origin.reply(EMPTY_OK)
        await client.response()

    async def test_chunked(self):
        origin, _, client = await self.pair()
        client.send(POST + CHUNKED + b"\r\n3;ext=1\r\nabc\r\n")
        client.send(b"00A\r\ndefghijklm\r\n0\r\n\r\n")
        seen = await origin.request()
        self.assertEqual(seen.get(b"transfer-encoding"), b"chunked")
        self.assertEqual(seen.body, b"abcdefghijklm")
        origin.reply(EMPTY_OK)
        await client.response()

    async def test_byte_by_byte(self):
        origin, _, client = await self.pair()
        for byte in POST + CHUNKED + b"\r\n3\r\nabc\r\n0\r\n\r\n" + GET:
            client.send(bytes([byte]))
            await self.turns(1)
        seen = await origin.request()
        self.assertEqual(seen.body, b"abc")
        origin.reply(EMPTY_OK)
        await client.response()
        await origin.request()
        origin.reply(EMPTY_OK)
        await client.response()

    async def test_trailers(self):
        for split in (False, True):
            origin, _, client = await self.pair()
            client.send(POST + CHUNKED + b"Trailer: X-Sum\r\n\r\n3\r\nabc\r\n")
            if split:
                await origin.head()
            client.send(b"0\r\nX-Sum: 1\r\nContent-Length: 9\r\nX-Forwarded-For: 6\r\n\r\n")
            if split:
                wire = origin.wire
                self.assertEqual(await wire.exactly(8), b"3\r\nabc\r\n")
                self.assertEqual(await wire.up_to(b"\r\n\r\n"), b"0\r\nX-Sum: 1\r\n\r\n")
            else:
                seen = await origin.request()
                self.assertEqual(seen.trailers, [(b"X-Sum", b"1")])
            origin.reply(EMPTY_OK)
            await client.response()

    async def test_broken_chunk_is_400_and_the_origin_is_cut_off(self):
        origin, proxy, client = await self.pair()
        client.send(POST + CHUNKED + b"\r\n3\r\nabc\r\n")
        await origin.head()
        client.send(b"zz\r\n")
        response = await client.response()
        self.assertEqual(response.status, 400)
        self.assertEqual(response.get(b"connection"), b"close")
        await origin.wire.closing()
        self.assertNotIn(b"0\r\n\r\n", origin.wire.received)
        self.assertEqual((await proxy.log.record()).reason, b"bad_chunk")

    async def test_chunk_broken_at_once_reaches_no_origin(self):
        origin, proxy, client = await self.pair()
        response = await self.ask(client, POST + CHUNKED + b"\r\nzz\r\n")
        self.assertEqual(response.status, 400)
        await client.closing()
        await self.turns()
        self.assertEqual([wire.total for wire in origin.wires], [0] * len(origin.wires))
        self.assertEqual(proxy.log.reasons, [b"bad_chunk"])

    async def test_client_that_ends_short_of_its_length_cuts_the_origin_off(self):
        origin, proxy, client = await self.pair()
        client.send(POST + b"Content-Length: 10\r\n\r\nabc")
        await origin.head()
        client.close()
        self.assertEqual(await origin.wire.ended(), RESET)
        self.assertEqual((await proxy.log.record()).reason, b"client_aborted")

    async def test_large_body_arrives_whole(self):
        for framing in (b"Content-Length: 3000000\r\n\r\n", CHUNKED + b"\r\n"):
            origin, _, client = await self.pair()
            piece = bytes(range(256)) * 40
            body = (piece * 300)[:3_000_000]
            client.send(POST + framing)
            if b"Length" in framing:
                client.send(body)
            else:
                for at in range(0, len(body), 70_000):
                    part = body[at : at + 70_000]
                    client.send(b"%x\r\n%b\r\n" % (len(part), part))
                client.send(b"0\r\n\r\n")
            seen = await origin.request(keep=False)
            self.assertEqual(seen.size, len(body))
            self.assertEqual(seen.digest, hashlib.sha256(body).digest())
            origin.reply(EMPTY_OK)
            await client.response()


class ResponseBodyTests(Scenario):
    async def receive(self, *pieces, request=GET, close=False):
        """What the client gets when an origin replies with these pieces."""
        origin, self.proxy_, client = await self.pair()
        client.send(request)
        await origin.request()
        for piece in pieces:
            origin.reply(piece)
            await self.turns(3)
        if close:
            origin.wire.close()
        self.client_ = client
        return await client.response(to=request.split(b" ")[0])

    async def test_content_length(self):
        response = await self.receive(ok(b"hello")[:-2], b"lo")
        self.assertEqual(response.body, b"hello")
        self.assertEqual(response.get(b"content-length"), b"5")

    async def test_chunked_is_not_chunked_twice(self):
        response = await self.receive(CHUNKED_OK + b"\r\n5;x=y\r\nhel", b"lo\r\n0\r\n\r\n")
        self.assertEqual(response.body, b"hello")
        self.assertEqual(response.all(b"transfer-encoding"), [b"chunked"])

    async def test_chunked_at_once(self):
        response = await self.receive(CHUNKED_OK + b"\r\n5\r\nhello\r\n0\r\n\r\n")
        self.assertEqual(response.body, b"hello")

    async def test_empty_chunked(self):
        response = await self.receive(CHUNKED_OK + b"\r\n0\r\n\r\n")
        self.assertEqual(response.body, b"")

    async def test_chunked_to_http_10_ends_with_the_connection(self):
        response = await self.receive(
            CHUNKED_OK + b"\r\n5\r\nhello\r\n", b"0\r\n\r\n", request=GET_10
        )
        self.assertEqual(response.body, b"hello")
        self.assertIsNone(response.get(b"transfer-encoding"))
        self.assertEqual(response.get(b"connection"), b"close")
        self.assertEqual(await self.client_.ended(), CLOSED)

    async def test_until_close_becomes_chunked(self):
        response = await self.receive(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo", close=True)
        self.assertEqual(response.body, b"hello")
        self.assertEqual(response.get(b"transfer-encoding"), b"chunked")
        self.assertIsNone(response.get(b"connection"))

    async def test_until_close_to_http_10(self):
        response = await self.receive(
            b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo", request=GET_10, close=True
        )
        self.assertEqual(response.body, b"hello")
        self.assertIsNone(response.get(b"transfer-encoding"))

    async def test_http_10_origin(self):
        response = await self.receive(
            b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", close=True
        )
        self.assertEqual(response.start, b"HTTP/1.1 200 OK")
        self.assertEqual(response.body, b"hello")

    async def test_http_10_keep_alive(self):
        origin, _, client = await self.pair()
        request = b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
        for _ in range(2):
            _, response = await self.exchange(client, origin, request, ok(b"x"))
            self.assertEqual(response.get(b"connection"), b"keep-alive")

    async def test_trailers_reach_a_client_that_takes_them(self):
        request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\n\r\n"
        last = b"0\r\nX-Sum: 1\r\nContent-Length: 3\r\n\r\n"
        for pieces in (
            (CHUNKED_OK + b"\r\n5\r\nhello\r\n", last),
            (CHUNKED_OK + b"\r\n5\r\nhello\r\n" + last,),
        ):
            response = await self.receive(*pieces, request=request)
            self.assertEqual(response.body, b"hello")
            self.assertEqual(response.trailers, [(b"X-Sum", b"1")])

    async def test_trailers_do_not_reach_one_that_does_not(self):
        last = b"0\r\nX-Sum: 1\r\n\r\n"
        response = await self.receive(CHUNKED_OK + b"\r\n5\r\nhello\r\n" + last)
        self.assertEqual((response.body, response.trailers), (b"hello", []))

    async def test_no_body_whatever_the_length_says(self):
        head = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
        for request, status, length in (
            (head, b"200 OK", b"12"),
            (GET, b"304 Not Modified", b"12"),
            (GET, b"204 No Content", None),
        ):
            origin, _proxy, client = await self.pair()
            for _ in range(2):
                reply = b"HTTP/1.1 " + status + b"\r\nContent-Length: 12\r\n\r\n"
                _, response = await self.exchange(client, origin, request, reply)
                self.assertEqual(response.start, b"HTTP/1.1 " + status)
                self.assertEqual(response.get(b"content-length"), length)
            self.assertEqual(len(origin.wires), 1)
            self.assertEqual(client.received, b"")

    async def test_head_of_a_chunked_response(self):
        origin, _, client = await self.pair()
        request = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
        await self.exchange(client, origin, request, CHUNKED_OK + b"\r\n")
        await self.exchange(client, origin, GET, ok(b"next"))

    async def test_large_bodies_arrive_whole(self):
        body = bytes(range(256)) * 12_000
        digest = hashlib.sha256(body).digest()
        for head in (
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body),
            b"HTTP/1.1 200 OK\r\n\r\n",
        ):
            for request in (GET, GET_10):
                origin, _, client = await self.pair()
                client.send(request)
                await origin.request()
                origin.reply(head + body)
                origin.wire.close()
                response = await client.response(keep=False)
                self.assertEqual((response.size, response.digest), (len(body), digest))


class CutShortTests(Scenario):
    """A response that was not whole never looks whole."""

    async def cut(self, *pieces, request=GET, reset=False):
        origin, self.proxy_, client = await self.pair()
        client.send(request)
        await origin.request()
        for piece in pieces:
            origin.reply(piece)
            await client.until(lambda: client.total, "the beginning of the response")
        if reset:
            origin.wire.reset()
        else:
            origin.wire.close()
        response = await client.cut_response()
        self.assertFalse(response.whole, response)
        await client.closing()
        record = await self.proxy_.log.record()
        self.assertEqual(len(self.proxy_.log.records), 1)
        return response, record

    async def test_short_of_its_length(self):
        response, record = await self.cut(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        self.assertEqual(response.body, b"abc")
        self.assertEqual((record.reason, record.status), (b"truncated", 200))

    async def test_short_of_its_length_to_http_10(self):
        await self.cut(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", request=GET_10)

    async def test_chunked_without_an_end(self):
        response, record = await self.cut(CHUNKED_OK + b"\r\n3\r\nabc\r\n")
        self.assertEqual(response.body, b"abc")
        self.assertEqual(record.reason, b"truncated")

    async def test_chunked_without_an_end_to_http_10(self):
        await self.cut(CHUNKED_OK + b"\r\n3\r\nabc\r\n", request=GET_10)

    async def test_reset_in_a_chunked_body(self):
        await self.cut(CHUNKED_OK + b"\r\n3\r\nabc\r\n", reset=True)

    async def test_reset_in_a_body_until_close(self):
        for request in (GET, GET_10):
            await self.cut(b"HTTP/1.1 200 OK\r\n\r\nabc", request=request, reset=True)

    async def test_chunk_of_garbage(self):
        for request in (GET, GET_10):
            _, record = await self.cut(
                CHUNKED_OK + b"\r\n3\r\nabc\r\n", b"garbage\r\n", request=request
            )
            self.assertEqual(record.reason, b"bad_response_body")

    async def test_garbage_at_once_is_502(self):
        origin, _proxy, client = await self.pair()
        _, response = await self.exchange(client, origin, GET, CHUNKED_OK + b"\r\ngarbage\r\n")
        self.assertEqual(response.status, 502)

    async def test_no_response_at_all_is_502(self):
        for reset in (True, False):
            origin, proxy, client = await self.pair()
            client.send(GET)
            await origin.request()
            if reset:
                origin.wire.reset()
            else:
                origin.wire.close()
            response = await client.response()
            self.assertEqual(response.status, 502)
            self.assertEqual((await proxy.log.record()).reason, b"reset")
            # The client's connection is as good as before.
            await self.exchange(client, origin)

    async def test_what_is_no_response_is_502(self):
        for reply in (
            b"garbage\r\n\r\n",
            b"HTTP/2 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n folded: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n",
            b"HTTP/1.1 200 OK\nX: 1\n\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        ):
            origin, _proxy, client = await self.pair()
            _, response = await self.exchange(client, origin, GET, reply)
            self.assertEqual(response.status, 502, reply[:60])
            await origin.wire.closing()

    async def test_longer_than_its_length_is_cut_there_and_the_connection_dropped(self):
        origin, _proxy, client = await self.pair()
        _, response = await self.exchange(client, origin, GET, ok(b"abc") + b"HTTP/1.1 200 OK")
        self.assertEqual(response.body, b"abc")
        await origin.wire.closing()
        await self.exchange(client, origin)
        self.assertEqual(len(origin.wires), 2)
