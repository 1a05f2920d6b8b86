"""A client that goes away stops what was done for it, wherever that stands."""

from tests.scenarios.harness import GET, Scenario, ok
from tests.scenarios.wire import RESET


class AbortTests(Scenario):
    async def gone(self, proxy, number=1):
        """The record of an exchange whose client went."""
        record = await proxy.log.record(number)
        self.assertEqual(record.reason, b"client_aborted")
        await self.until(lambda: proxy.graph.busy == 0, "the connection to be forgotten")
        return record

    async def test_while_the_origin_thinks(self):
        for leave in ("close", "reset"):
            origin, proxy, client = await self.pair()
            client.send(GET)
            await origin.request()
            getattr(client, leave)()
            self.assertEqual(await origin.wire.ended(), RESET)
            record = await self.gone(proxy)
            self.assertEqual((record.status, record.bytes_out), (499, 0))
            self.assertEqual(record.backend, origin.address.encode())

    async def test_while_connecting(self):
        origin, proxy, client = await self.pair()
        calls = []
        (backend,) = proxy.backends()
        dial = backend.connections.dial
        backend.connections.dial = lambda *call: calls.append(call)
        client.send(GET)
        await self.until(lambda: calls, "the connection to be opened")
        client.reset()
        self.assertEqual((await self.gone(proxy)).status, 499)
        self.assertEqual(backend.in_use, 1)
        dial(*calls[0])  # it comes too late for this one, and serves the next
        await self.until(lambda: proxy.idle() == 1, "the connection to be kept")
        other = await self.client(proxy)
        await self.exchange(other, origin)
        self.assertEqual(len(origin.wires), 1)

    async def test_while_queued(self):
        origin = await self.origin()
        proxy = await self.proxy(f'{{ url = "{origin.url}", max_connections = 1 }}')
        first, second, third = [await self.client(proxy) for _ in range(3)]
        first.send(GET)
        await origin.request()
        second.send(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        third.send(b"GET /third HTTP/1.1\r\nHost: a\r\n\r\n")
        (backend,) = proxy.backends()
        await self.until(lambda: len(backend.connections._waiting) == 2, "two in line")
        second.reset()
        self.assertEqual((await proxy.log.record()).reason, b"client_aborted")
        origin.reply(ok(b"first"))
        self.assertEqual((await first.response()).body, b"first")
        self.assertEqual((await origin.request()).target, b"/third")
        origin.reply(ok(b"third"))
        self.assertEqual((await third.response()).body, b"third")

    async def test_in_the_middle_of_the_response(self):
        origin, proxy, client = await self.pair()
        client.send(GET)
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        await client.until(lambda: b"abc" in client.received, "the beginning")
        client.reset()
        self.assertEqual(await origin.wire.ended(), RESET)
        record = await self.gone(proxy)
        self.assertEqual(record.status, 200)
        self.assertEqual(record.bytes_out, 3)

    async def test_in_the_middle_of_the_request(self):
        origin, proxy, client = await self.pair()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        await origin.head()
        client.reset()
        self.assertEqual(await origin.wire.ended(), RESET)
        self.assertEqual((await self.gone(proxy)).status, 499)

    async def test_with_a_full_pipe_on_either_side(self):
        origin, proxy, client = await self.pair()
        client.stop_reading()
        client.send(GET)
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + bytes(20_000_000))
        await self.turns(200)
        client.reset()
        self.assertEqual(await origin.wire.ended(), RESET)
        await self.gone(proxy)

    async def test_before_and_between_requests_is_no_exchange(self):
        origin, proxy, client = await self.pair()
        client.close()
        await self.until(lambda: proxy.graph.busy == 0, "the connection to be forgotten")
        client = await self.client(proxy)
        await self.exchange(client, origin)
        client.close()
        await self.until(lambda: proxy.graph.busy == 0, "the connection to be forgotten")
        self.assertEqual(proxy.log.reasons, [b"ok"])

    async def test_in_the_middle_of_a_head_is_no_exchange(self):
        _origin, proxy, client = await self.pair()
        client.send(b"GET / HT")
        await self.turns()
        client.close()
        await self.until(lambda: proxy.graph.busy == 0, "the connection to be forgotten")
        self.assertEqual(proxy.log.records, [])
