"""Connections to backends: which is used again, which is not, and what is done when one fails."""

import os

from tests.scenarios.harness import EMPTY_OK, GET, Refusing, Scenario, ok

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
PUT = b"PUT" + POST[4:]


class ReuseTests(Scenario):
    async def test_one_after_the_other_on_one_connection(self):
        origin, proxy, client = await self.pair()
        for request in (GET, POST, PUT, GET):
            await self.exchange(client, origin, request)
        other = await self.client(proxy)
        await self.exchange(other, origin)
        self.assertEqual(len(origin.wires), 1)
        connects = [record.connect for record in proxy.log.records]
        self.assertIsNotNone(connects[0])
        self.assertEqual(connects[1:], [None] * 4)

    async def test_most_recently_used_first(self):
        origin, proxy, client = await self.pair()
        other = await self.client(proxy)
        client.send(GET)
        await origin.request()
        first = origin.wire
        other.send(GET)
        second = await origin.accept()
        await second.request()
        first.reply(EMPTY_OK)
        await client.response()
        second.reply(EMPTY_OK)
        await other.response()
        self.assertEqual(proxy.idle(), 2)
        for _ in range(3):
            client.send(GET)
            await second.request()
            second.reply(EMPTY_OK)
            await client.response()
        self.assertEqual(first.received, b"")

    async def not_reused(self, reply, request=GET, after=None):
        origin, proxy, client = await self.pair()
        await self.exchange(client, origin, request, reply)
        first = origin.wire
        if after:
            after(first)
        await first.closing()
        await self.exchange(client, origin)
        self.assertEqual(len(origin.wires), 2)
        self.assertEqual(proxy.log.reasons, [b"ok", b"ok"])

    async def test_not_after_connection_close(self):
        for option in (b"close", b"Close", b"foo, CLOSE"):
            await self.not_reused(ok(b"x", b"Connection: " + option))

    async def test_not_after_http_10(self):
        await self.not_reused(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx")

    async def test_http_10_keep_alive_is(self):
        origin, _proxy, client = await self.pair()
        reply = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx"
        for _ in range(2):
            await self.exchange(client, origin, GET, reply)
        self.assertEqual(len(origin.wires), 1)

    async def test_not_after_more_than_was_asked(self):
        for extra in (b"x", b"\r\n", EMPTY_OK):
            await self.not_reused(EMPTY_OK + extra)
            await self.not_reused(ok(b"abc") + extra)
            chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            await self.not_reused(chunked + extra)

    async def test_not_after_bytes_that_nobody_asked_for(self):
        await self.not_reused(ok(b"abc"), after=lambda wire: wire.send(EMPTY_OK))

    async def test_two_responses_at_once_are_never_the_answer_to_the_next(self):
        origin, _proxy, client = await self.pair()
        await self.exchange(client, origin, GET, ok(b"mine") + ok(b"yours"))
        _, response = await self.exchange(client, origin, GET, ok(b"fresh"))
        self.assertEqual(response.body, b"fresh")

    async def test_not_after_the_origin_closed(self):
        origin, proxy, client = await self.pair()
        await self.exchange(client, origin)
        origin.wire.close()
        await self.until(lambda: proxy.idle() == 0, "the connection to be forgotten")
        await self.exchange(client, origin)
        self.assertEqual(len(origin.wires), 2)

    async def test_bounds_of_what_is_kept(self):
        origin, proxy, client = await self.pair(pool="keepalive = { idle = 1, requests = 2 }")
        other = await self.client(proxy)
        client.send(GET)
        await origin.request()
        first = origin.wire
        other.send(GET)
        second = await origin.accept()
        await second.request()
        first.reply(EMPTY_OK)
        await client.response()
        second.reply(EMPTY_OK)
        await other.response()
        self.assertEqual(proxy.idle(), 1)
        await first.closing()
        client.send(GET)
        await second.request()
        second.reply(EMPTY_OK)
        await client.response()
        await second.closing()
        self.assertEqual(proxy.idle(), 0)

    async def test_none_kept(self):
        origin, _proxy, client = await self.pair(pool="keepalive = { idle = 0 }")
        await self.exchange(client, origin)
        await origin.wire.closing()
        await self.exchange(client, origin)


class StaleTests(Scenario):
    """A kept connection that the origin closes as the next request goes out."""

    async def stale(self, request, reset=False):
        origin, proxy, client = await self.pair()
        await self.exchange(client, origin)
        first = origin.wire
        client.send(request)
        await first.head()
        if reset:
            first.reset()
        else:
            first.close()
        return origin, proxy, client

    async def test_idempotent_requests_are_sent_again(self):
        for request in (GET, PUT, PUT.replace(b"PUT", b"DELETE")):
            for reset in (True, False):
                origin, proxy, client = await self.stale(request, reset)
                seen = await origin.request()
                self.assertEqual(len(origin.wires), 2)
                self.assertEqual(seen.body, b"" if request is GET else b"hello")
                origin.reply(ok(b"again"))
                self.assertEqual((await client.response()).body, b"again")
                self.assertEqual(proxy.log.reasons, [b"ok", b"ok"])

    async def test_body_that_is_still_arriving_goes_on(self):
        origin, _proxy, client = await self.stale(PUT[:-3])
        wire = await origin.accept()
        head = await wire.head()
        self.assertEqual(head.get(b"content-length"), b"5")
        client.send(b"llo")
        self.assertEqual(await wire.exactly(5), b"hello")
        wire.reply(ok(b"again"))
        self.assertEqual((await client.response()).body, b"again")

    async def test_chunked_body_is_framed_again(self):
        head = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        origin, _proxy, client = await self.stale(
            head + b"2\r\nhe\r\n3\r\nllo\r\n0\r\nX: 1\r\n\r\n"
        )
        seen = await origin.request()
        self.assertEqual((seen.body, seen.trailers), (b"hello", [(b"X", b"1")]))
        origin.reply(EMPTY_OK)
        await client.response()

    async def test_post_is_not_sent_again(self):
        for method in (b"POST", b"PATCH", b"BREW"):
            origin, _proxy, client = await self.stale(POST.replace(b"POST", method))
            self.assertEqual((await client.response()).status, 502)
            await self.turns()
            self.assertEqual(len(origin.wires), 1)

    async def test_large_body_is_not_sent_again(self):
        size = 200_000
        request = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (size + 1)
        origin, _proxy, client = await self.pair()
        await self.exchange(client, origin)
        client.send(request + bytes(size))
        await origin.head()
        await origin.wire.exactly(size)
        origin.wire.close()
        self.assertEqual((await client.response()).status, 502)
        self.assertEqual(len(origin.wires), 1)

    async def test_fresh_connection_is_not_tried_twice(self):
        origin, _proxy, client = await self.pair()
        client.send(GET)
        await origin.request()
        origin.wire.close()
        self.assertEqual((await client.response()).status, 502)
        self.assertEqual(len(origin.wires), 1)

    async def test_origin_that_always_closes_is_asked_twice_at_most(self):
        origin, _proxy, client = await self.stale(GET)
        await origin.request()
        origin.wire.close()
        self.assertEqual((await client.response()).status, 502)
        self.assertEqual(len(origin.wires), 2)


class FailoverTests(Scenario):
    async def test_refused_connection_goes_to_the_next_backend(self):
        refusing = Refusing()
        self.addCleanup(refusing.close)
        origin = await self.origin()
        proxy = await self.proxy(refusing.url, origin)
        client = await self.client(proxy)
        for request in (GET, POST, GET, PUT):
            seen, response = await self.exchange(client, origin, request)
            self.assertEqual(response.status, 200)
            self.assertEqual(seen.body, request.partition(b"\r\n\r\n")[2])
        self.assertEqual({r.backend for r in proxy.log.records}, {origin.address.encode()})

    async def test_all_refused_is_502(self):
        refusing = [Refusing() for _ in range(3)]
        for each in refusing:
            self.addCleanup(each.close)
        proxy = await self.proxy(*[each.url for each in refusing])
        client = await self.client(proxy)
        for _ in range(4):
            self.assertEqual((await self.ask(client, POST)).status, 502)
        self.assertEqual(proxy.log.reasons, [b"connect_refused"] * 4)

    async def test_backend_without_weight_is_no_second_choice(self):
        refusing = Refusing()
        self.addCleanup(refusing.close)
        origin = await self.origin()
        proxy = await self.proxy(refusing.url, f'{{ url = "{origin.url}", weight = 0 }}')
        client = await self.client(proxy)
        self.assertEqual((await self.ask(client, GET)).status, 502)
        self.assertEqual(proxy.log.reasons, [b"connect_refused"])

    async def test_round_robin(self):
        first, second = await self.origin("first"), await self.origin("second")
        proxy = await self.proxy(first, second)
        client = await self.client(proxy)
        turns = []
        for _ in range(6):
            client.send(GET)
            origin = await self.until(
                lambda: next((o for o in (first, second) if any(w.received for w in o.wires)), 0),
                "a request",
            )
            await origin.request()
            origin.reply(EMPTY_OK)
            await client.response()
            turns.append(origin)
        self.assertEqual(turns[::2], [turns[0]] * 3)
        self.assertEqual(turns[1::2], [turns[1]] * 3)
        self.assertNotEqual(turns[0], turns[1])


class LimitTests(Scenario):
    async def test_max_connections_queues_in_order(self):
        origin = await self.origin()
        proxy = await self.proxy(f'{{ url = "{origin.url}", max_connections = 2 }}')
        clients = [await self.client(proxy) for _ in range(6)]
        (backend,) = proxy.backends()
        for number, client in enumerate(clients):
            client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            await self.until(
                lambda n=number: backend.in_use + len(backend.connections._waiting) == n + 1,
                "the request",
            )
        wires = [await origin.accept(), await origin.accept()]
        for number in range(6):
            wire = wires[number % 2]
            seen = await wire.request()
            self.assertEqual(seen.target, b"/%d" % number)
            wire.reply(ok(seen.target))
            self.assertEqual((await clients[number].response()).body, b"/%d" % number)
        self.assertEqual(len(origin.wires), 2)

    async def test_place_of_a_broken_connection_goes_to_the_next_in_line(self):
        origin = await self.origin()
        proxy = await self.proxy(f'{{ url = "{origin.url}", max_connections = 1 }}')
        first, second = await self.client(proxy), await self.client(proxy)
        first.send(POST)
        await origin.request()
        second.send(GET)
        (backend,) = proxy.backends()
        await self.until(lambda: backend.connections._waiting, "one in line")
        origin.wire.reset()
        self.assertEqual((await first.response()).status, 502)
        await origin.request()
        origin.reply(ok(b"second"))
        self.assertEqual((await second.response()).body, b"second")

    async def test_full_queue_is_503_and_the_connection_goes_on(self):
        origin = await self.origin()
        one = f'{{ url = "{origin.url}", max_connections = 1, max_pending = 1 }}'
        proxy = await self.proxy(one)
        first, second, third = [await self.client(proxy) for _ in range(3)]
        first.send(GET)
        await origin.request()
        second.send(GET)
        (backend,) = proxy.backends()
        await self.until(lambda: backend.connections._waiting, "one in line")
        third.send(POST[:-3])
        response = await third.response()
        self.assertEqual(response.status, 503)
        self.assertEqual(response.get(b"retry-after"), b"1")
        self.assertEqual(proxy.log.reasons, [b"queue_full"])
        for client in (first, second):
            origin.reply(EMPTY_OK)
            await client.response()
            if client is first:
                await origin.request()
        third.send(b"llo")
        await self.exchange(third, origin)

    async def test_backend_with_room_comes_before_a_full_one(self):
        first, second = await self.origin("first"), await self.origin("second")
        proxy = await self.proxy(
            f'{{ url = "{first.url}", max_connections = 1 }}',
            f'{{ url = "{second.url}", max_connections = 2 }}',
        )
        clients = [await self.client(proxy) for _ in range(3)]
        for client in clients:
            client.send(GET)
        await self.until(lambda: (len(first.wires), len(second.wires)) == (1, 2), "connections")


class AddressTests(Scenario):
    async def test_unix_socket(self):
        path = os.path.join(os.path.abspath(self.mktemp()[:0] or "."), f"s{os.getpid()}.sock")
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        origin = await self.origin(unix=path)
        proxy = await self.proxy(f"unix:{path}", pool='host = "backend"')
        client = await self.client(proxy)
        for _ in range(2):
            seen, _ = await self.exchange(client, origin)
            self.assertEqual(seen.get(b"host"), b"localhost")
        self.assertEqual(len(origin.wires), 1)
        await origin.stop()
        for wire in origin.wires:
            wire.reset()
        await self.until(lambda: proxy.idle() == 0, "the connection to be forgotten")
        self.assertEqual((await self.ask(client, GET)).status, 502)

    async def test_host_name(self):
        origin = await self.origin()
        port = origin.address.partition(":")[2]
        proxy = await self.proxy(f"http://localhost:{port}", pool='host = "backend"')
        client = await self.client(proxy)
        for _ in range(2):
            seen, _ = await self.exchange(client, origin, POST)
            self.assertEqual(seen.get(b"host"), b"localhost:" + port.encode())
        self.assertEqual(proxy.log.records[0].backend, b"localhost:" + port.encode())
