"""After 101: a tunnel, whoever is slow or leaves first. And streams of events, which need none."""

from tests.scenarios.harness import GET, MIB, Scenario, ok
from tests.scenarios.wire import CLOSED

ASK = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class TunnelTests(Scenario):
    async def tunnel(self, behind_request=b"", behind_response=b"", **parts):
        origin, proxy, client = await self.pair(**parts)
        client.send(ASK + behind_request)
        seen = await origin.head()
        self.assertEqual(seen.get(b"upgrade"), b"websocket")
        self.assertEqual(seen.get(b"connection"), b"upgrade")
        self.assertEqual(seen.get(b"sec-websocket-key"), b"x")
        origin.reply(SWITCH + behind_response)
        response = await client.response()
        self.assertEqual(response.status, 101)
        self.assertEqual(response.get(b"upgrade"), b"websocket")
        self.assertEqual(response.get(b"connection"), b"upgrade")
        return origin.wire, proxy, client

    async def test_bytes_both_ways_and_one_record(self):
        wire, proxy, client = await self.tunnel()
        for _ in range(3):
            client.send(b"ping")
            self.assertEqual(await wire.exactly(4), b"ping")
            wire.send(b"pong!")
            self.assertEqual(await client.exactly(5), b"pong!")
        self.assertEqual(proxy.log.records, [])
        client.close()
        await wire.ended()
        record = await proxy.log.record()
        self.assertEqual((record.status, record.reason), (101, b"upgraded"))
        self.assertEqual(record.bytes_out, 15)

    async def test_bytes_right_behind_the_handshake(self):
        wire, _, client = await self.tunnel(b"from client", b"from origin")
        self.assertEqual(await wire.exactly(11), b"from client")
        self.assertEqual(await client.exactly(11), b"from origin")
        client.send(b"more")
        self.assertEqual(await wire.exactly(4), b"more")

    async def test_half_close_by_the_client(self):
        wire, proxy, client = await self.tunnel()
        wire.closes_back = False
        client.send(b"last")
        client.half_close()
        await wire.closing()
        self.assertEqual(bytes(wire.received), b"last")
        wire.send(b"answer")
        self.assertEqual(await client.exactly(6), b"answer")
        wire.close()
        self.assertEqual(await client.ended(), CLOSED)
        await proxy.log.record()

    async def test_half_close_by_the_backend(self):
        wire, proxy, client = await self.tunnel()
        client.closes_back = False
        wire.send(b"last")
        wire.half_close()
        await client.closing()
        self.assertEqual(bytes(client.received), b"last")
        client.send(b"answer")
        self.assertEqual(await wire.exactly(6), b"answer")
        client.close()
        self.assertEqual(await wire.ended(), CLOSED)
        await proxy.log.record()

    async def test_client_abort_ends_the_backend(self):
        wire, proxy, client = await self.tunnel()
        client.reset()
        await wire.ended()
        self.assertEqual((await proxy.log.record()).status, 101)

    async def test_backend_abort_ends_the_client(self):
        wire, proxy, client = await self.tunnel()
        wire.reset()
        await client.ended()
        self.assertEqual((await proxy.log.record()).status, 101)

    async def flood(self, sender, reader):
        reader.stop_reading()
        sent = 0
        still = 0
        while still < 50:
            if sender.blocked:
                still += 1
                await self.turns(2)
            else:
                still = 0
                sender.send(bytes(64 * 1024))
                sent += 64 * 1024
                self.assertLess(sent, 32 * MIB)
                await self.turns(1)
        return sent

    async def test_slow_backend_slows_the_client(self):
        wire, _, client = await self.tunnel()
        sent = await self.flood(client, wire)
        wire.read_again()
        while sent:
            sent -= len(await wire.some())
        client.send(b"on")
        self.assertEqual(await wire.exactly(2), b"on")

    async def test_slow_client_slows_the_backend(self):
        wire, _, client = await self.tunnel()
        sent = await self.flood(wire, client)
        client.read_again()
        while sent:
            sent -= len(await client.some())
        wire.send(b"on")
        self.assertEqual(await client.exactly(2), b"on")

    async def test_what_a_slow_client_has_not_read_arrives_after_the_backend_left(self):
        wire, proxy, client = await self.tunnel()
        sent = await self.flood(wire, client)
        wire.close()
        client.read_again()
        while sent:
            data = await client.some()
            self.assertTrue(data, sent)
            sent -= len(data)
        self.assertEqual(await client.ended(), CLOSED)
        self.assertEqual((await proxy.log.record()).reason, b"upgraded")

    async def test_abort_of_a_tunnel_that_is_full_both_ways(self):
        wire, proxy, client = await self.tunnel()
        await self.flood(wire, client)
        await self.flood(client, wire)
        wire.reset()
        client.read_again()
        await client.ended()
        self.assertEqual((await proxy.log.record()).status, 101)

    async def test_half_close_reaches_a_slow_reader(self):
        wire, _proxy, client = await self.tunnel()
        client.closes_back = False
        sent = await self.flood(wire, client)
        wire.half_close()
        client.read_again()
        while sent:
            sent -= len(await client.some())
        self.assertEqual(await client.some(), b"")
        client.send(b"still")
        self.assertEqual(await wire.exactly(5), b"still")

    async def test_idle_tunnel_is_closed(self):
        wire, proxy, client = await self.tunnel(pool='timeouts = { idle = "250ms" }')
        await client.ended()
        await wire.ended()
        record = await proxy.log.record()
        self.assertEqual((record.status, record.reason), (101, b"tunnel_idle"))

    async def test_connection_is_not_kept(self):
        wire, proxy, client = await self.tunnel()
        client.close()
        await proxy.log.record()
        self.assertEqual(proxy.idle(), 0)
        await wire.ended()
        await self.until(lambda: proxy.graph.busy == 0, "the connection to be forgotten")


class RefusedTests(Scenario):
    async def test_origin_answers_otherwise(self):
        for status in (b"200 OK", b"400 Bad Request", b"426 Upgrade Required"):
            origin, _, client = await self.pair()
            reply = b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nno"
            _, response = await self.exchange(client, origin, ASK, reply)
            self.assertEqual((response.start, response.body), (b"HTTP/1.1 " + status, b"no"))
            await self.exchange(client, origin)
            self.assertEqual(len(origin.wires), 1)

    async def test_switched_off(self):
        origin, _, client = await self.pair(route="websocket = false")
        seen, response = await self.exchange(client, origin, ASK)
        self.assertIsNone(seen.get(b"upgrade"))
        self.assertIsNone(seen.get(b"connection"))
        self.assertEqual(response.status, 200)

    async def test_h2c_never_passes(self):
        for offer in (b"h2c", b"H2C", b"h2c, HTTP/2.0", b"TLS/1.0"):
            origin, _, client = await self.pair()
            request = (
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nUpgrade: " + offer + b"\r\n\r\n"
            )
            client.send(request)
            seen = await origin.request()
            self.assertIsNone(seen.get(b"upgrade"))
            self.assertIsNone(seen.get(b"http2-settings"))
            origin.reply(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
            )
            self.assertEqual((await client.response()).status, 502)

    async def test_101_that_nobody_asked_for_is_502(self):
        origin, proxy, client = await self.pair()
        _, response = await self.exchange(client, origin, GET, SWITCH)
        self.assertEqual(response.status, 502)
        self.assertEqual((await proxy.log.record()).reason, b"bad_response")
        await origin.wire.closing()
        await self.exchange(client, origin)

    async def test_101_to_another_protocol_is_502(self):
        origin, _proxy, client = await self.pair()
        _, response = await self.exchange(
            client, origin, ASK, SWITCH.replace(b"websocket", b"other")
        )
        self.assertEqual(response.status, 502)
        await origin.wire.closing()

    async def test_unknown_protocol_may_pass(self):
        origin, _, client = await self.pair()
        client.send(ASK.replace(b"websocket", b"irc/6.9"))
        await origin.head()
        origin.reply(SWITCH.replace(b"websocket", b"irc/6.9") + b"hi")
        self.assertEqual((await client.response()).get(b"upgrade"), b"irc/6.9")
        self.assertEqual(await client.exactly(2), b"hi")


class EventStreamTests(Scenario):
    async def test_each_event_arrives_as_it_is_sent(self):
        for head in (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ):
            origin, proxy, client = await self.pair()
            client.send(GET)
            await origin.request()
            origin.reply(head)
            self.assertEqual((await client.head()).get(b"transfer-encoding"), b"chunked")
            for number in range(5):
                event = b"data: %d\n\n" % number
                chunk = b"%x\r\n%b\r\n" % (len(event), event)
                origin.reply(chunk if b"chunked" in head else event)
                self.assertEqual(await client.exactly(len(chunk)), chunk)
            client.close()
            await origin.wire.ended()
            self.assertEqual((await proxy.log.record()).reason, b"client_aborted")

    async def test_long_poll(self):
        origin, _, client = await self.pair()
        client.send(GET)
        await origin.request()
        await self.turns()
        self.assertEqual(client.total, 0)
        origin.reply(ok(b"news"))
        self.assertEqual((await client.response()).body, b"news")
