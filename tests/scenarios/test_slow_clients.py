"""Clients that are slow on purpose: a body that trickles in, a response that is hardly taken."""

from tests.scenarios.harness import MIB, Scenario
from tests.scenarios.test_guards import get

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
SLOW = 'body_timeout = "4s"\nwrite_timeout = "4s"\n'


class BodyTests(Scenario):
    async def trickle(self, listener, size):
        origin, proxy, client = await self.pair(timed=True, listener=SLOW + listener)
        client.send(POST)
        head = await origin.head()
        self.assertEqual(head.method, b"POST")
        wire = origin.wire
        for _ in range(10):
            if client.received:
                break
            before = wire.total
            client.send(b"x" * size)
            await self.until(lambda b=before: wire.total >= b + size or client.received, "a piece")
            proxy.wait(1)
            await self.turns(3)
        return proxy, client

    async def test_too_slow(self):
        proxy, client = await self.trickle('min_body_rate = "1KiB"', 1)
        self.assertEqual((await client.response()).status, 408)
        self.assertEqual(proxy.log.reasons, [b"body_timeout"])

    async def test_fast_enough(self):
        _, client = await self.trickle('min_body_rate = "1KiB"', 2048)
        self.assertEqual(client.received, b"")

    async def test_any_pace_by_default(self):
        _, client = await self.trickle("", 1)
        self.assertEqual(client.received, b"")


class ReaderTests(Scenario):
    async def read_slowly(self, listener):
        origin, proxy, client = await self.pair(timed=True, listener=SLOW + listener)
        wire = await self.client(proxy, receive_buffer=4096)
        wire.send(get())
        wire.stop_reading()
        await origin.request()
        size = 16 * MIB
        origin.reply(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        (downstream,) = [d for d in proxy.site.connections if d.exchange is not None]
        await self.until(lambda: downstream._writing, "the proxy to wait")
        for _ in range(6):
            if proxy.log.records:
                break
            before = wire.total
            wire.read_again()
            await self.until(lambda b=before: wire.total > b, "some bytes")
            wire.stop_reading()
            await self.turns(3)
            proxy.wait(4.5)
        return proxy, wire

    async def test_too_slow(self):
        proxy, wire = await self.read_slowly('min_write_rate = "1GiB"')
        self.assertEqual(proxy.log.reasons, [b"write_timeout"])


class ReloadTests(Scenario):
    async def test_rates_of_a_new_configuration(self):
        site = (await self.proxy("http://127.0.0.1:9")).site
        rates = 'min_body_rate = "2KiB"\nmin_write_rate = "3KiB"'
        other = (await self.proxy("http://127.0.0.1:9", listener=rates)).site
        site.service.become(other.service)
        deadlines = site.service.body.seconds, site.service.write.seconds
        asked = site.service.min_sent / deadlines[0], site.service.min_taken / deadlines[1]
        self.assertEqual(asked, (2048, 3072))
