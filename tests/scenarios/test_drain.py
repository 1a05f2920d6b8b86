"""An orderly end: what is idle closes now, and everything else after its exchange."""

from tests.scenarios.harness import GET, Scenario, ok
from tests.scenarios.test_upgrade import ASK, SWITCH
from tests.scenarios.wire import CLOSED


class DrainTests(Scenario):
    async def quiet(self, proxy):
        await self.until(lambda: proxy.graph.busy == 0, "all connections to be closed")

    async def test_idle_connections_close_at_once(self):
        origin, proxy, client = await self.pair()
        fresh = await self.client(proxy)
        await self.exchange(client, origin)
        await self.until(lambda: proxy.graph.busy == 2, "both connections")
        proxy.graph.drain()
        for each in (client, fresh):
            self.assertEqual(await each.ended(), CLOSED)
        await self.quiet(proxy)

    async def test_running_exchange_ends_in_order_and_says_so(self):
        origin, proxy, client = await self.pair()
        client.send(GET + GET)
        await origin.request()
        proxy.graph.drain()
        origin.reply(ok(b"last"))
        response = await client.response()
        self.assertEqual((response.body, response.get(b"connection")), (b"last", b"close"))
        self.assertEqual(await client.everything(), b"")
        await self.quiet(proxy)
        self.assertEqual(proxy.log.reasons, [b"ok"])

    async def test_response_that_has_begun_ends_whole(self):
        origin, proxy, client = await self.pair()
        client.send(GET)
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await client.until(lambda: client.total, "the beginning")
        proxy.graph.drain()
        await self.turns()
        self.assertFalse(client.over)
        origin.reply(b"world")
        self.assertEqual((await client.response()).body, b"helloworld")
        self.assertEqual(await client.ended(), CLOSED)
        await self.quiet(proxy)

    async def test_request_body_that_is_arriving_arrives(self):
        origin, proxy, client = await self.pair()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
        await origin.head()
        proxy.graph.drain()
        client.send(b"llo")
        self.assertEqual(await origin.wire.exactly(5), b"hello")
        origin.reply(ok(b"thanks"))
        response = await client.response()
        self.assertEqual((response.body, response.get(b"connection")), (b"thanks", b"close"))
        await self.quiet(proxy)

    async def test_head_that_is_arriving_is_served(self):
        origin, proxy, client = await self.pair()
        client.send(GET[:10])
        await self.until(
            lambda: any(d.buffered for d in proxy.site.connections), "half of the head"
        )
        proxy.graph.drain()
        client.send(GET[10:])
        await origin.request()
        origin.reply(ok(b"last"))
        response = await client.response()
        self.assertEqual((response.body, response.get(b"connection")), (b"last", b"close"))
        await self.quiet(proxy)

    async def test_softly(self):
        """Who was told that the connection is kept may ask once more, and is told then."""
        origin, proxy, client = await self.pair()
        fresh = await self.client(proxy)
        client.send(GET)
        await origin.request()
        proxy.graph.drain(softly=True)
        origin.reply(ok(b"kept"))
        self.assertNotEqual((await client.response()).get(b"connection"), b"close")
        for each in (client, fresh):
            each.send(GET)
            await origin.request()
            origin.reply(ok(b"last"))
            self.assertEqual((await each.response()).get(b"connection"), b"close")
            self.assertEqual(await each.ended(), CLOSED)
        await self.quiet(proxy)

    async def test_tunnel_goes_on_until_it_is_aborted(self):
        origin, proxy, client = await self.pair()
        client.send(ASK)
        await origin.head()
        origin.reply(SWITCH)
        await client.response()
        proxy.graph.drain()
        client.send(b"still")
        self.assertEqual(await origin.wire.exactly(5), b"still")
        self.assertEqual(proxy.graph.busy, 1)
        proxy.graph.abort()
        await self.quiet(proxy)
        await client.ended()
        await origin.wire.ended()

    async def test_connections_to_backends_close_at_the_end(self):
        origin, proxy, client = await self.pair()
        await self.exchange(client, origin)
        proxy.graph.drain()
        await self.quiet(proxy)
        proxy.graph.close()
        self.assertEqual(await origin.wire.ended(), CLOSED)
