"""One record for each exchange, and true in every field."""

from twisted.logger import formatEvent, globalLogPublisher

from tests.scenarios.harness import GET, Refusing, Scenario, ok


class LogTests(Scenario):
    async def test_proxied(self):
        origin, proxy, client = await self.pair()
        request = (
            b"POST /a?b=c HTTP/1.1\r\nHost: a.example:81\r\nUser-Agent: ua/1\r\n"
            b"Referer: http://r.example/\r\nContent-Length: 5\r\n\r\n"
        )
        client.send(request + b"hello")
        seen = await origin.request()
        origin.reply(ok(b"x" * 1000))
        await client.response()
        (record,) = proxy.log.records
        self.assertEqual(record.client, b"127.0.0.1")
        self.assertEqual((record.method, record.target), (b"POST", b"/a?b=c"))
        self.assertEqual((record.version, record.host), (b"1.1", b"a.example:81"))
        self.assertEqual((record.status, record.reason), (200, b"ok"))
        self.assertEqual((record.bytes_in, record.bytes_out), (5, 1000))
        self.assertEqual((record.route, record.pool), (b"all", b"app"))
        self.assertEqual(record.backend, origin.address.encode())
        self.assertLessEqual(0, record.connect)
        self.assertLessEqual(record.connect, record.first_byte)
        self.assertLessEqual(record.first_byte, record.total)
        self.assertEqual(record.request_id, seen.get(b"x-request-id"))
        self.assertEqual((record.user_agent, record.referer), (b"ua/1", b"http://r.example/"))
        self.assertEqual(record.way, (b"http", b"http", b"", b""))
        self.assertEqual(record.notes, {})

    async def test_bytes_of_streamed_bodies(self):
        origin, proxy, client = await self.pair()
        head = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(head + b"3\r\nabc\r\n")
        await origin.head()
        client.send(b"4\r\ndefg\r\n0\r\n\r\n")
        await origin.wire.up_to(b"0\r\n\r\n")
        origin.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await client.until(lambda: client.total, "the beginning")
        origin.reply(b"2\r\nbc\r\n0\r\n\r\n")
        response = await client.response()
        (record,) = proxy.log.records
        self.assertEqual((response.body, record.bytes_in), (b"abc", 7))
        self.assertEqual(record.bytes_out, len(b"1\r\na\r\n" + b"2\r\nbc\r\n" + b"0\r\n\r\n"))

    async def test_without_a_backend(self):
        refusing = Refusing()
        self.addCleanup(refusing.close)
        proxy = await self.proxy(refusing.url)
        client = await self.client(proxy)
        response = await self.ask(client, GET)
        (record,) = proxy.log.records
        self.assertEqual((record.status, record.reason), (502, b"connect_refused"))
        self.assertIsNone(record.connect)
        self.assertIsNone(record.first_byte)
        self.assertEqual(record.bytes_out, len(response.body))

    async def test_a_backend_that_nobody_looks_after_does_not_die_in_silence(self):
        refusing = Refusing()
        self.addCleanup(refusing.close)
        said = []
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)
        proxy = await self.proxy(refusing.url, timed=True)
        client = await self.client(proxy)
        for _ in range(5):
            await self.ask(client, GET)
        proxy.wait(62)
        name = refusing.url.removeprefix("http://")
        self.assertEqual(
            [formatEvent(event) for event in said if "troubles" in event["log_namespace"]],
            [
                f"Pool app: backend {name} fails requests: connect_refused",
                f"Pool app: backend {name} has failed 4 more in 60 s: connect_refused 4",
            ],
        )

    async def test_trusted_client_address(self):
        origin, proxy, client = await self.pair(server='trusted_proxies = ["127.0.0.1/32"]')
        line = b"X-Forwarded-For: 9.9.9.9, 203.0.113.7\r\n\r\n"
        await self.exchange(client, origin, GET[:-2] + line)
        self.assertEqual(proxy.log.records[0].client, b"203.0.113.7")

    async def test_unreadable_request(self):
        _, proxy, client = await self.pair()
        response = await self.ask(client, b"GET / HTTP/9.9\r\nHost: a\r\n\r\n")
        (record,) = proxy.log.records
        self.assertEqual((record.status, record.reason), (505, b"version_unsupported"))
        self.assertEqual(record.client, b"127.0.0.1")
        self.assertEqual(record.way, (b"http", b"http", b"", b""))
        self.assertEqual(record.bytes_out, len(response.body))

    async def test_one_record_each_over_a_mixed_connection(self):
        origin, proxy, client = await self.pair(policy='body_limit = "10B"')
        for n in range(3):
            await self.exchange(client, origin, GET, ok(b"x" * n))
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        await origin.request()
        origin.wire.reset()
        self.assertEqual((await client.response()).status, 502)
        await self.ask(client, b"OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n")
        await self.ask(client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")
        await client.closing()
        self.assertEqual(
            proxy.log.reasons,
            [b"ok"] * 3 + [b"reset", b"responded", b"body_too_large"],
        )
        ids = [record.request_id for record in proxy.log.records]
        self.assertEqual(len(set(ids)), len(ids))
