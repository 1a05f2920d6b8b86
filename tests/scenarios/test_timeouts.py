"""Each timeout, with its own end and its own reason; and that what moves is not timed out."""

import socket

from tests.scenarios.harness import EMPTY_OK, GET, Scenario, ok
from tests.scenarios.wire import CLOSED, RESET

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + bytes(20_000_000)


class ClientTimeoutTests(Scenario):
    async def timed(self, **parts):
        return await self.pair(timed=True, **parts)

    async def arrived(self, proxy, count):
        """When the only client connection has kept this many bytes of a head."""
        (downstream,) = proxy.site.connections
        await self.until(lambda: downstream.buffered == count, f"{count} bytes to arrive")

    async def test_head_that_trickles_in_is_408(self):
        _origin, proxy, client = await self.timed()
        head = b"GET / HTTP/1.1\r\nHost: a"
        for at in range(9):
            client.send(head[at : at + 1])
            await self.arrived(proxy, at + 1)
            proxy.wait(1)
        self.assertEqual(client.total, 0)
        proxy.wait(3)
        response = await client.response()
        self.assertEqual(response.status, 408)
        self.assertEqual(response.get(b"connection"), b"close")
        self.assertEqual((await proxy.log.record()).reason, b"head_timeout")
        await client.ended()

    async def test_second_head_of_a_connection_is_timed_too(self):
        origin, proxy, client = await self.timed()
        await self.exchange(client, origin)
        client.send(b"GET")
        await self.arrived(proxy, 3)
        proxy.wait(12)
        self.assertEqual((await client.response()).status, 408)

    async def test_idle_connection_is_closed_without_a_word(self):
        origin, proxy, client = await self.timed()
        await self.exchange(client, origin)
        proxy.wait(59)
        await self.exchange(client, origin)
        proxy.wait(59)
        await self.turns()
        self.assertFalse(client.over)
        proxy.wait(3)
        self.assertEqual(await client.everything(), b"")
        self.assertEqual(proxy.log.reasons, [b"ok", b"ok"])

    async def test_connection_without_a_request_is_idle(self):
        _origin, proxy, client = await self.timed()
        await self.until(lambda: proxy.graph.busy, "the connection")
        proxy.wait(62)
        self.assertEqual(await client.everything(), b"")
        self.assertEqual(proxy.log.records, [])

    async def test_empty_lines_do_not_keep_a_connection(self):
        _origin, proxy, client = await self.timed()
        await self.until(lambda: proxy.graph.busy, "the connection")
        for _ in range(7):
            client.send(b"\r\n")
            await self.turns(5)
            proxy.wait(10)
        await client.closing()

    async def test_body_that_stops_is_408(self):
        origin, proxy, client = await self.timed()
        client.send(POST)
        await origin.head()
        for _ in range(4):
            client.send(b"x")
            self.assertEqual(await origin.wire.exactly(1), b"x")
            proxy.wait(20)
        self.assertEqual(client.total, 0)
        proxy.wait(12)
        response = await client.response()
        self.assertEqual(response.status, 408)
        self.assertEqual(response.get(b"connection"), b"close")
        await origin.wire.closing()
        self.assertEqual((await proxy.log.record()).reason, b"body_timeout")

    async def test_body_that_stops_after_the_response_closes(self):
        origin, proxy, client = await self.timed()
        client.send(POST + b"x")
        await origin.head()
        origin.reply(EMPTY_OK)
        await client.response()
        proxy.wait(32)
        self.assertEqual(await client.everything(), b"")
        self.assertEqual(proxy.log.reasons, [b"ok"])

    async def test_client_that_takes_nothing_is_cut_off(self):
        origin, proxy, client = await self.timed()
        client.stop_reading()
        client.send(GET)
        await origin.request()
        origin.reply(LARGE)
        await self.blocked(proxy)
        proxy.wait(125)  # twice: its kernel may have taken some yet
        record = await proxy.log.record()
        self.assertEqual((record.reason, record.status), (b"write_timeout", 200))
        self.assertEqual(await origin.wire.ended(), RESET)
        client.read_again()
        self.assertEqual(await client.ended(), RESET)

    async def blocked(self, proxy):
        (downstream,) = proxy.site.connections
        await self.until(lambda: downstream._writing, "the client to be the slow side")

    async def test_client_that_is_slow_but_steady_is_not(self):
        origin = await self.origin()
        proxy = await self.proxy(origin, timed=True)
        client = await self.client(proxy, receive_buffer=128 * 1024)
        client.stop_reading()
        client.send(GET)
        await origin.request()
        origin.reply(LARGE)
        await self.blocked(proxy)
        for _ in range(6):
            proxy.wait(40)
            before = client.total
            client.read_again()
            await client.until(lambda before=before: client.total > before + 1_000_000, "more")
            client.stop_reading()
            await self.blocked(proxy)
        self.assertEqual(proxy.log.records, [])
        client.read_again()
        self.assertEqual((await client.response(keep=False)).size, 20_000_000)
        self.assertEqual((await proxy.log.record()).reason, b"ok")

    async def test_client_that_takes_nothing_and_writes_on_is_cut_off(self):
        origin = await self.origin()
        proxy = await self.proxy(origin, timed=True)
        client = await self.client(proxy, receive_buffer=4096)
        client.stop_reading()
        client.send(GET + POST + b"x")
        await origin.request()
        (downstream,) = proxy.site.connections
        downstream.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        # Each reaches the proxy at once, so that its exchange is over; the second is too much.
        origin.reply(ok(bytes(50_000)))
        await origin.head()
        origin.reply(ok(bytes(60_000)))
        await proxy.log.record(2)
        await self.blocked(proxy)
        client.send(b"x" * 99)
        await self.until(lambda: downstream.state == "busy", "the rest of the request")
        proxy.wait(130)
        await self.until(lambda: proxy.graph.busy == 0, "the connection to be cut")

    async def test_refused_client_that_lingers_is_cut_off(self):
        _origin, proxy, client = await self.timed()
        client.closes_back = False
        response = await self.ask(client, b"BAD\r\n\r\n")
        self.assertEqual(response.status, 400)
        await client.closing()
        self.assertEqual(proxy.graph.busy, 1)
        proxy.wait(7)
        await self.until(lambda: proxy.graph.busy == 0, "the connection to be cut")

    async def test_refused_client_that_still_reads_is_not(self):
        origin = await self.origin()
        proxy = await self.proxy(origin, timed=True)
        client = await self.client(proxy, receive_buffer=16 * 1024)
        client.stop_reading()
        client.send(GET + b"BAD\r\n\r\n")
        await origin.request()
        origin.reply(ok(bytes(120_000)))
        await proxy.log.record(2)
        for _ in range(3):
            before = client.total
            client.read_again()
            await client.until(lambda before=before: client.total > before + 20_000, "more")
            client.stop_reading()
            proxy.wait(4)
        client.read_again()
        self.assertEqual((await client.response()).size, 120_000)
        self.assertEqual((await client.response()).status, 400)


class BackendTimeoutTests(Scenario):
    async def test_connect(self):
        deaf = socket.socket()
        self.addCleanup(deaf.close)
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        # The backlog is full with these, and further handshakes go unanswered.
        for _ in range(3):
            filler = socket.socket()
            self.addCleanup(filler.close)
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        proxy = await self.proxy(url, pool='timeouts = { connect = "250ms" }')
        client = await self.client(proxy)
        response = await self.ask(client, GET)
        self.assertEqual(response.status, 504)
        record = await proxy.log.record()
        self.assertEqual(record.reason, b"connect_timeout")
        self.assertIsNone(record.first_byte)

    async def test_first_byte(self):
        origin, proxy, client = await self.pair(timed=True)
        client.send(GET)
        await origin.request()
        proxy.wait(29)
        await self.turns()
        self.assertEqual(client.total, 0)
        proxy.wait(3)
        response = await client.response()
        self.assertEqual(response.status, 504)
        self.assertEqual((await proxy.log.record()).reason, b"first_byte_timeout")
        self.assertEqual(await origin.wire.ended(), RESET)
        await self.exchange(client, origin)

    async def test_first_byte_counts_from_the_end_of_the_request(self):
        origin, proxy, client = await self.pair(timed=True)
        client.send(POST)
        await origin.head()
        for _ in range(100):
            client.send(b"x")
            await origin.wire.exactly(1)
            proxy.wait(1)
        proxy.wait(28)
        origin.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_early_hints_do_not_put_it_off(self):
        origin, proxy, client = await self.pair(timed=True)
        client.send(GET)
        await origin.request()
        for _ in range(3):
            proxy.wait(9)
            origin.reply(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            self.assertEqual((await client.response()).status, 103)
        proxy.wait(5)
        self.assertEqual((await client.response()).status, 504)

    async def test_route_overrides_the_pool(self):
        origin, proxy, client = await self.pair(
            timed=True, route='timeouts = { first_byte = "90s" }'
        )
        client.send(GET)
        await origin.request()
        proxy.wait(80)
        origin.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_response_that_stops_is_cut(self):
        origin, proxy, client = await self.pair(timed=True)
        client.send(GET)
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        await client.head()
        for _ in range(4):
            origin.reply(b"x")
            await client.exactly(1)
            proxy.wait(50)
        self.assertFalse(client.over)
        proxy.wait(12)
        self.assertEqual(await client.everything(), b"")
        record = await proxy.log.record()
        self.assertEqual((record.reason, record.status), (b"upstream_idle_timeout", 200))
        self.assertEqual(await origin.wire.ended(), RESET)

    async def test_slow_client_is_not_the_backends_failure(self):
        origin, proxy, client = await self.pair(timed=True, listener='write_timeout = "1h"')
        client.stop_reading()
        client.send(GET)
        await origin.request()
        origin.reply(LARGE)
        (downstream,) = proxy.site.connections
        await self.until(lambda: downstream._writing, "the client to be the slow side")
        proxy.wait(300)
        client.read_again()
        self.assertEqual((await client.response(keep=False)).size, 20_000_000)

    async def test_backend_that_takes_nothing_is_504(self):
        origin, proxy, client = await self.pair(timed=True)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n")
        await origin.head()
        origin.wire.stop_reading()
        client.send(bytes(20_000_000))
        await self.until(
            lambda: client.blocked and all(d._paused for d in proxy.site.connections),
            "the backend to be the slow side",
        )
        proxy.wait(62)
        response = await client.response()
        self.assertEqual(response.status, 504)
        self.assertEqual((await proxy.log.record()).reason, b"backend_write_timeout")

    async def test_backend_that_takes_little_is_waited_for(self):
        origin, proxy, client = await self.pair(timed=True, listener='body_timeout = "1h"')
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n")
        await origin.head()
        origin.wire.stop_reading()
        client.send(bytes(20_000_000))
        await self.until(
            lambda: client.blocked and all(d._paused for d in proxy.site.connections),
            "the backend to be the slow side",
        )
        for taken in range(1, 5):
            proxy.wait(45)
            origin.wire.read_again()
            await self.until(
                lambda taken=taken: origin.wire.total > taken * 2_000_000,
                "the backend to take some",
            )
            origin.wire.stop_reading()
        origin.wire.read_again()
        await origin.wire.exactly(20_000_000)
        origin.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_backend_that_never_says_continue_is_504(self):
        origin, proxy, client = await self.pair(timed=True)
        client.send(POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        await origin.head()
        proxy.wait(32)
        response = await client.response()
        self.assertEqual(response.status, 504)
        self.assertEqual(response.get(b"connection"), b"close")
        self.assertEqual((await proxy.log.record()).reason, b"first_byte_timeout")

    async def test_queue(self):
        origin = await self.origin()
        proxy = await self.proxy(f'{{ url = "{origin.url}", max_connections = 1 }}', timed=True)
        first, second = await self.client(proxy), await self.client(proxy)
        first.send(GET)
        await origin.request()
        second.send(POST + b"x" * 50)
        (backend,) = proxy.backends()
        await self.until(lambda: backend.connections._waiting, "one in line")
        proxy.wait(6)
        response = await second.response()
        self.assertEqual(response.status, 503)
        self.assertTrue(response.get(b"retry-after"))
        self.assertEqual((await proxy.log.record()).reason, b"queue_timeout")
        origin.reply(ok(b"first"))
        self.assertEqual((await first.response()).body, b"first")
        second.send(b"x" * 50)
        await self.exchange(second, origin)

    async def test_kept_connection_grows_old(self):
        origin, proxy, client = await self.pair(timed=True)
        await self.exchange(client, origin)
        proxy.wait(49)
        self.assertEqual(proxy.idle(), 1)
        proxy.wait(3)
        self.assertEqual(proxy.idle(), 0)
        self.assertEqual(await origin.wire.ended(), CLOSED)
