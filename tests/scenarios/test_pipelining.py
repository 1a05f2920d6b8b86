"""Requests that do not wait for the response before: answered one by one, in order."""

import tracemalloc

from tests.scenarios.harness import MIB, Scenario, ok
from txrproxy.transport.direct import READ
from txrproxy.transport.downstream import MAX_PIPELINED

MIXED = """
    version = 1
    [listeners.http]
    bind = ["127.0.0.1:0"]
    {listener}
    [pools.app]
    backends = ["{url}"]
    [[routes]]
    name = "own"
    match = {{ path = "/own*" }}
    respond = {{ status = 200, body = "{own}" }}
    [[routes]]
    name = "all"
    match = {{}}
    pool = "app"
"""


def get(target):
    return b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target


class PipeliningTests(Scenario):
    async def mixed(self, own="own", listener=""):
        origin = await self.origin()
        proxy = await self.proxy(toml=MIXED.format(url=origin.url, own=own, listener=listener))
        return origin, proxy, await self.client(proxy)

    async def test_in_order_and_one_at_a_time(self):
        origin, _proxy, client = await self.mixed()
        client.send(b"".join(get(b"/%d" % n) for n in range(5)))
        for number in range(5):
            seen = await origin.request()
            self.assertEqual(seen.target, b"/%d" % number)
            await self.turns(3)
            self.assertEqual(origin.wire.received, b"")
            origin.reply(ok(b"%d" % number))
            self.assertEqual((await client.response()).body, b"%d" % number)

    async def test_own_and_proxied_responses_keep_their_order(self):
        origin, proxy, client = await self.mixed()
        targets = [b"/own/1", b"/a", b"/own/2", b"/own/3", b"/b", b"/own/4"]
        client.send(b"".join(map(get, targets)))
        for target in targets:
            if not target.startswith(b"/own"):
                self.assertEqual((await origin.request()).target, target)
                origin.reply(ok(target))
            expected = b"own" if target.startswith(b"/own") else target
            self.assertEqual((await client.response()).body, expected)
        self.assertEqual([record.target for record in proxy.log.records], targets)

    async def test_bodies_between(self):
        origin, _proxy, client = await self.mixed()
        post = b"POST /%d HTTP/1.1\r\nHost: a\r\n"
        client.send(
            post % 1
            + b"Content-Length: 3\r\n\r\nabc"
            + post % 2
            + b"Transfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n"
            + get(b"/3")
        )
        for body in (b"abc", b"def", b""):
            self.assertEqual((await origin.request()).body, body)
            origin.reply(ok(body))
            self.assertEqual((await client.response()).body, body)

    async def test_body_for_the_proxys_own_answer_is_no_request(self):
        origin, proxy, client = await self.mixed()
        smuggled = get(b"/smuggled")
        head = b"POST /own HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(smuggled)
        client.send(head + smuggled + get(b"/own/2"))
        for _ in range(2):
            self.assertEqual((await client.response()).body, b"own")
        self.assertEqual([r.target for r in proxy.log.records], [b"/own", b"/own/2"])
        self.assertEqual(origin.wires, [])

    async def test_thousands_at_once_do_not_recurse(self):
        origin, proxy, client = await self.mixed()
        client.send(get(b"/first") + get(b"/own") * 3000)
        await origin.request()
        origin.reply(ok(b"first"))
        self.assertEqual((await client.response()).body, b"first")
        for _ in range(3000):
            self.assertEqual((await client.response()).body, b"own")
        self.assertEqual(len(proxy.log.records), 3001)

    async def test_client_that_does_not_read_is_not_read(self):
        _origin, proxy, client = await self.mixed(own="x" * 10_000)
        client.stop_reading()
        requests = get(b"/own") * 500
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        sent = 0
        while not client.blocked:
            client.send(requests)
            sent += 500
            await self.turns(2)
            self.assertLess(len(requests) * sent // 500, 32 * MIB)
        self.assertLess(tracemalloc.get_traced_memory()[0], 8 * MIB)
        tracemalloc.stop()
        answered = len(proxy.log.records)
        await self.turns()
        self.assertEqual(len(proxy.log.records), answered)
        self.assertLess(answered, sent)
        client.read_again()
        for _ in range(2 * answered):
            self.assertEqual((await client.response(keep=False)).size, 10_000)
        client.reset()

    async def test_flood_behind_a_slow_exchange_is_bounded(self):
        origin, proxy, client = await self.mixed()
        client.send(get(b"/slow"))
        await origin.request()
        sent = 0
        while not client.blocked:
            client.send(get(b"/own") * 1000)
            sent += 1000
            await self.turns(2)
            self.assertLess(sent, 1_000_000)
        (downstream,) = proxy.site.connections
        self.assertLess(downstream.buffered, MIB)
        origin.reply(ok(b"slow"))
        self.assertEqual((await client.response()).body, b"slow")
        for _ in range(5000):
            self.assertEqual((await client.response()).body, b"own")
        client.reset()

    async def test_flood_of_requests_that_are_answered_at_once_is_bounded(self):
        _origin, proxy, client = await self.mixed()
        client.send(get(b"/own") * 9_000)
        (downstream,) = proxy.site.connections
        most = 0
        for _ in range(9_000):
            self.assertEqual((await client.response(keep=False)).size, 3)
            most = max(most, downstream.buffered)
        self.assertLess(most, MAX_PIPELINED + 2 * READ)
        client.reset()

    async def test_bad_request_behind_good_ones_is_answered_last(self):
        origin, _proxy, client = await self.mixed()
        client.send(get(b"/a") + get(b"/own") + b"BAD\r\n\r\n" + get(b"/own"))
        await origin.request()
        origin.reply(ok(b"a"))
        self.assertEqual((await client.response()).body, b"a")
        self.assertEqual((await client.response()).body, b"own")
        self.assertEqual((await client.response()).status, 400)
        self.assertEqual(await client.everything(), b"")

    async def test_keepalive_requests_bounds_a_connection(self):
        _origin, _proxy, client = await self.mixed(listener="keepalive_requests = 3")
        client.send(get(b"/own") * 5)
        self.assertIsNone((await client.response()).get(b"connection"))
        self.assertIsNone((await client.response()).get(b"connection"))
        self.assertEqual((await client.response()).get(b"connection"), b"close")
        self.assertEqual(await client.everything(), b"")

    async def test_response_on_its_way_survives_the_cut_of_the_next(self):
        origin, proxy, _ = await self.mixed()
        client = await self.client(proxy, receive_buffer=16 * 1024)
        client.stop_reading()
        # More than the proxy reads ahead, so that some of it lies unread when the cut comes.
        client.send(get(b"/whole") + get(b"/cut") + get(b"/never") * 20_000)
        await origin.request()
        origin.reply(ok(b"x" * 120_000))
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut")
        origin.wire.close()
        await self.turns(50)
        client.read_again()
        self.assertEqual((await client.response()).size, 120_000)
        self.assertEqual((await client.cut_response()).body, b"cut")
        self.assertTrue(await client.closing())

    async def test_last_responses_survive_the_end_of_a_connection(self):
        _origin, _, client = await self.mixed(own="x" * 6000, listener="keepalive_requests = 50")
        client.stop_reading()
        client.send(get(b"/own") * 10_000)
        await self.turns(50)
        client.read_again()
        for _ in range(50):
            self.assertEqual((await client.response()).size, 6000)
        self.assertTrue(await client.closing())
