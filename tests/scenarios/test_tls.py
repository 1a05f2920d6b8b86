"""The proxy on a listener for https: the data path is the same one, and ends as it should."""

import hashlib

from tests.scenarios.harness import EMPTY_OK, GET, MIB, ok
from tests.scenarios.test_upgrade import ASK, SWITCH
from tests.scenarios.tls import SERVER, SecureScenario, trusting
from tests.scenarios.wire import CLOSED, RESET

BIG = bytes(range(256)) * (16 * MIB // 256)


class ProxyingTests(SecureScenario):
    async def test_exchanges_on_one_connection(self):
        for version in ("1.2", "1.3"):
            origin = await self.origin()
            proxy = await self.secure_proxy(origin)
            client = await self.secure(proxy, context=trusting(version=version))
            self.assertEqual(client.certificate, SERVER.certificate)
            for body in (b"one", b"two", b""):
                seen, response = await self.exchange(
                    client, origin, GET, ok(body, b"X-From: origin")
                )
                self.assertEqual(seen.method, b"GET")
                self.assertEqual((response.status, response.body), (200, body))
                self.assertEqual(response.get(b"x-from"), b"origin")
            self.assertEqual(proxy.log.reasons, [b"ok"] * 3)
            spoken = f"TLSv{version}".encode()
            ways = {record.way for record in proxy.log.records}
            self.assertEqual(ways, {(b"http", b"https", spoken, b"a.example")})
            self.assertEqual(len(origin.wires), 1)

    async def test_post_and_chunked(self):
        origin, _, client = await self.secure_pair()
        client.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello")
        self.assertEqual((await origin.request()).body, b"hello")
        origin.reply(EMPTY_OK)
        await client.response()
        client.send(
            b"PUT / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        self.assertEqual((await origin.request()).body, b"abcde")
        origin.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n")
        self.assertEqual((await client.response()).body, b"xyz")

    async def test_many_requests_in_one_record(self):
        origin, proxy, client = await self.secure_pair()
        client.send(GET * 5)
        for number in range(5):
            await origin.request()
            origin.reply(ok(b"%d" % number))
        for number in range(5):
            self.assertEqual((await client.response()).body, b"%d" % number)
        self.assertEqual(proxy.log.reasons, [b"ok"] * 5)

    async def test_request_that_comes_byte_by_byte(self):
        origin, _, client = await self.secure_pair()
        for at in range(len(GET)):
            client.send(GET[at : at + 1])
            await self.turns(1)
        self.assertEqual((await origin.request()).target, b"/")

    async def test_big_bodies_arrive_as_they_were_sent(self):
        digest = hashlib.sha256(BIG).digest()
        origin, _, client = await self.secure_pair(policy="body_limit = '1GiB'")
        client.send(
            b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % len(BIG) + BIG
        )
        seen = await origin.request(keep=False)
        self.assertEqual((seen.size, seen.digest), (len(BIG), digest))
        origin.reply(ok(BIG))
        response = await client.response(keep=False)
        self.assertEqual((response.size, response.digest), (len(BIG), digest))

    async def test_slow_client_holds_up_the_origin(self):
        origin, _, client = await self.secure_pair()
        client.stop_reading()
        client.send(GET)
        await origin.request()
        origin.reply(ok(BIG))
        await origin.until(lambda: origin.wire.blocked, "the origin to be held up")
        await self.turns(200)
        self.assertTrue(origin.wire.blocked)
        client.read_again()
        response = await client.response(keep=False)
        self.assertEqual(response.digest, hashlib.sha256(BIG).digest())

    async def test_slow_origin_holds_up_the_client(self):
        origin, _, client = await self.secure_pair(policy="body_limit = '1GiB'")
        client.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % len(BIG))
        await origin.head()
        origin.wire.stop_reading()
        client.send(BIG)
        await client.until(lambda: client.blocked, "the client to be held up")
        await self.turns(200)
        self.assertTrue(client.blocked)
        origin.wire.read_again()
        got = await origin.wire.exactly(len(BIG))
        self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(BIG).digest())
        origin.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_upgrade(self):
        origin, proxy, client = await self.secure_pair()
        client.send(ASK + b"early")
        await origin.head()
        origin.reply(SWITCH + b"also early")
        self.assertEqual((await client.response()).status, 101)
        self.assertEqual(await origin.wire.exactly(5), b"early")
        self.assertEqual(await client.exactly(10), b"also early")
        for data in (b"ping", bytes(300_000)):
            client.send(data)
            self.assertEqual(await origin.wire.exactly(len(data)), data)
            origin.wire.send(data)
            self.assertEqual(await client.exactly(len(data)), data)
        client.close()
        self.assertEqual(await origin.wire.ended(), CLOSED)
        self.assertEqual((await proxy.log.record()).reason, b"upgraded")

    async def test_tunnel_that_the_origin_closes_ends_with_close_notify(self):
        origin, _, client = await self.secure_pair()
        client.send(ASK)
        await origin.head()
        origin.reply(SWITCH + b"bye")
        origin.wire.close()
        self.assertEqual((await client.response()).status, 101)
        self.assertEqual(await client.everything(), b"bye")
        self.assertTrue(client.notified)


class ForwardingTests(SecureScenario):
    SPOOFED = (
        b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Proto: http\r\n"
        b"Forwarded: for=1.2.3.4;proto=http\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
    )

    async def test_scheme_is_https(self):
        origin, _, client = await self.secure_pair()
        seen, _ = await self.exchange(client, origin, self.SPOOFED)
        self.assertEqual(seen.get(b"x-forwarded-proto"), b"https")
        self.assertEqual(seen.get(b"forwarded"), b'host="a.example";for=127.0.0.1;proto=https')
        self.assertEqual(seen.get(b"x-forwarded-for"), b"127.0.0.1")

    async def test_plain_listener_says_http(self):
        origin, _, client = await self.pair()
        seen, _ = await self.exchange(client, origin)
        self.assertEqual(seen.get(b"x-forwarded-proto"), b"http")

    async def test_proxy_header_before_tls(self):
        origin = await self.origin()
        proxy = await self.secure_proxy(
            origin,
            server='trusted_proxies = ["127.0.0.0/8"]',
            listener='proxy_protocol = "any"',
        )
        before = b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 443\r\n"
        client = await self.secure(proxy, before=before)
        seen, _ = await self.exchange(client, origin, self.SPOOFED)
        self.assertEqual(seen.get(b"x-forwarded-for"), b"192.0.2.7")
        self.assertEqual(seen.get(b"x-forwarded-proto"), b"https")
        self.assertEqual((await proxy.log.record()).client, b"192.0.2.7")

    async def test_failed_handshake_behind_a_proxy_header_names_the_client(self):
        proxy = await self.secure_proxy(
            "http://127.0.0.1:9",
            server='trusted_proxies = ["127.0.0.0/8"]',
            listener='proxy_protocol = "v1"',
        )
        client = await self.client(proxy)
        client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 443\r\n" + GET)
        await client.ended()
        client.close()
        record = await proxy.log.record()
        self.assertEqual((record.reason, record.client), (b"plain_http", b"192.0.2.7"))

    async def test_tls_without_the_proxy_header_it_needs(self):
        proxy = await self.secure_proxy(
            "http://127.0.0.1:9",
            server='trusted_proxies = ["127.0.0.0/8"]',
            listener='proxy_protocol = "v1"',
        )
        client = await self.begin(proxy)
        await client.ended()
        self.assertEqual((await proxy.log.record()).reason, b"bad_proxy_header")

    async def test_redirect_to_https(self):
        proxy = await self.proxy("http://127.0.0.1:9", listener="redirect_https = true")
        client = await self.client(proxy)
        response = await self.ask(client, b"GET /a?b HTTP/1.1\r\nHost: a.example:80\r\n\r\n")
        self.assertEqual(response.status, 308)
        self.assertEqual(response.get(b"location"), b"https://a.example/a?b")

    TRUSTS = 'trusted_proxies = ["127.0.0.0/8"]'
    SAID = b"GET /a HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Proto: %b\r\n\r\n"

    async def test_no_redirect_of_who_comes_by_https_to_a_trusted_proxy(self):
        for server, said, status in (
            (self.TRUSTS, b"https", 200),
            (self.TRUSTS, b"http, https", 200),
            (self.TRUSTS, b"http", 308),
            (self.TRUSTS, b"https, http", 308),
            ("", b"https", 308),
        ):
            origin = await self.origin()
            proxy = await self.proxy(origin, listener="redirect_https = true", server=server)
            client = await self.client(proxy)
            client.send(self.SAID % said)
            if status == 200:
                self.assertEqual((await origin.request()).target, b"/a")
                origin.reply(EMPTY_OK)
            response = await client.response()
            self.assertEqual(response.status, status, (server, said))

    async def test_no_route_behind_the_redirect(self):
        toml = self.config("http://127.0.0.1:9", listener="redirect_https = true")
        toml = toml.replace("match = {}", 'match = { path = "/b" }')
        toml = toml.replace("[server]", f"[server]\n{self.TRUSTS}")
        client = await self.client(await self.proxy(toml=toml))
        self.assertEqual((await self.ask(client, self.SAID % b"https")).status, 404)

    async def test_hsts_by_the_word_of_a_trusted_proxy(self):
        for server, said, expected in (
            (self.TRUSTS, b"https", b"max-age=31536000"),
            (self.TRUSTS, b"http", None),
            ("", b"https", None),
        ):
            origin, _, client = await self.pair(policy='security_headers = "basic"', server=server)
            _, response = await self.exchange(client, origin, self.SAID % said)
            self.assertEqual(response.get(b"strict-transport-security"), expected)

    async def test_addresses_in_responses_are_those_of_https_then(self):
        origin, _, client = await self.pair(server=self.TRUSTS)
        moved = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %b/x\r\n\r\n"
        _, response = await self.exchange(
            client, origin, self.SAID % b"https", moved % origin.url.encode()
        )
        self.assertEqual(response.get(b"location"), b"https://a.example/x")

    async def test_hsts_over_tls_only(self):
        for make in (self.secure_pair, self.pair):
            origin, _, client = await make(policy='security_headers = "basic"')
            _, response = await self.exchange(client, origin)
            self.assertEqual(response.get(b"x-content-type-options"), b"nosniff")
            expected = b"max-age=31536000" if make == self.secure_pair else None
            self.assertEqual(response.get(b"strict-transport-security"), expected)


class EndTests(SecureScenario):
    async def test_response_until_close_ends_with_close_notify(self):
        origin, _, client = await self.secure_pair()
        client.send(b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n")
        await origin.head()
        origin.reply(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        origin.wire.close()
        response = await client.cut_response()
        self.assertEqual(response.body, b"all of it")
        self.assertTrue(client.notified)

    async def test_truncated_response_until_close_has_none(self):
        origin, proxy, client = await self.secure_pair()
        client.send(b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n")
        await origin.head()
        origin.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
        await client.until(lambda: client.received.endswith(b"part"), "the first part")
        origin.wire.close()
        self.assertEqual(await client.ended(), RESET)
        self.assertFalse(client.notified)
        self.assertEqual((await proxy.log.record()).reason, b"truncated")

    async def test_response_until_close_that_the_origin_resets_has_none(self):
        origin, proxy, client = await self.secure_pair()
        client.send(b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n")
        await origin.head()
        origin.reply(b"HTTP/1.1 200 OK\r\n\r\npart")
        await client.until(lambda: client.received.endswith(b"part"), "the first part")
        origin.wire.reset()
        self.assertEqual(await client.ended(), RESET)
        self.assertFalse(client.notified)
        self.assertEqual((await proxy.log.record()).reason, b"truncated")

    async def test_connection_close_ends_with_close_notify(self):
        origin, _, client = await self.secure_pair()
        request = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
        await self.exchange(client, origin, request)
        self.assertEqual(await client.ended(), CLOSED)
        self.assertTrue(client.notified)

    async def test_client_that_leaves_without_a_word(self):
        origin, proxy, client = await self.secure_pair()
        client.send(GET)
        await origin.request()
        client.reset()
        self.assertEqual((await proxy.log.record()).reason, b"client_aborted")
        await self.until(lambda: not proxy.graph.busy, "the connection to be gone")

    async def test_drain_closes_idle_connections(self):
        origin, proxy, client = await self.secure_pair()
        fresh = await self.secure(proxy)
        await self.exchange(client, origin)
        shaking = await self.begin(proxy, stalls=True)
        await shaking.until(lambda: shaking.total, "the server's flight")
        await self.until(lambda: proxy.graph.busy == 3, "three connections")
        proxy.graph.drain()
        for wire in (client, fresh):
            self.assertEqual(await wire.ended(), CLOSED)
            self.assertTrue(wire.notified)
        await shaking.ended()
        await self.until(lambda: not proxy.graph.busy, "all to be gone")

    async def test_drain_lets_an_exchange_end(self):
        origin, proxy, client = await self.secure_pair()
        client.send(GET)
        await origin.request()
        proxy.graph.drain()
        origin.reply(ok(b"last"))
        response = await client.response()
        self.assertEqual((response.body, response.get(b"connection")), (b"last", b"close"))
        self.assertEqual(await client.ended(), CLOSED)
        self.assertTrue(client.notified)

    async def test_abort_ends_handshakes_too(self):
        proxy = await self.secure_proxy("http://127.0.0.1:9")
        silent = await self.client(proxy)
        shaking = await self.begin(proxy, stalls=True)
        done = await self.secure(proxy)
        await shaking.until(lambda: shaking.total, "the server's flight")
        await self.until(lambda: proxy.graph.busy == 3, "three connections")
        proxy.graph.abort()
        for wire in (silent, shaking, done):
            await wire.ended()
        await self.until(lambda: not proxy.graph.busy, "all to be gone")
