"""What a backend gets of a request, and a client of a response: targets, fields, addresses."""

import json

from tests.scenarios.harness import EMPTY_OK, GET, Scenario, ok


class TargetTests(Scenario):
    async def test_target_is_forwarded_byte_for_byte(self):
        origin, _, client = await self.pair()
        for target in (
            b"/",
            b"/a/b;x=1@c,d",
            b"/a?",
            b"/a??&=&;",
            b"/a%2Fb%2fc",
            b"/a//b/",
            b"/a/./b/../c",
            b"/%7Euser/%41",
            b"/a+b%20c",
            b"/a?q=%2B+%26&q=2",
            b'/a"<>^`{|}b',
        ):
            seen, _ = await self.exchange(
                client, origin, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            self.assertEqual(seen.start, b"GET " + target + b" HTTP/1.1")

    async def test_absolute_form_becomes_origin_form(self):
        origin, _, client = await self.pair()
        request = b"GET http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n"
        seen, _ = await self.exchange(client, origin, request)
        self.assertEqual(seen.target, b"/x?y")
        self.assertEqual(seen.get(b"host"), b"a.example")

    async def test_options_of_the_server(self):
        origin, _, client = await self.pair()
        seen, _ = await self.exchange(client, origin, b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(seen.start, b"OPTIONS * HTTP/1.1")

    async def test_unknown_method_passes(self):
        origin, _, client = await self.pair()
        seen, _ = await self.exchange(client, origin, b"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(seen.method, b"BREW")

    async def test_rewrite_changes_the_target_alone(self):
        origin, _, client = await self.pair(
            route='rewrite = { strip_prefix = "/app", prefix = "/v1" }'
        )
        request = b"GET /app/a;b%2Fc?x=/app/y HTTP/1.1\r\nHost: a\r\n\r\n"
        seen, _ = await self.exchange(client, origin, request)
        self.assertEqual(seen.target, b"/v1/a;b%2Fc?x=/app/y")


class RequestFieldTests(Scenario):
    async def send(self, *lines, **parts):
        """The request that an origin sees for these lines."""
        origin, _, client = await self.pair(**parts)
        block = b"".join(line + b"\r\n" for line in lines)
        request = b"GET / HTTP/1.1\r\nHost: a.example:81\r\n" + block + b"\r\n"
        return (await self.exchange(client, origin, request))[0]

    async def test_repeated_fields_keep_order_number_and_spelling(self):
        seen = await self.send(b"X-A: 1", b"Cookie: a=1", b"x-a: 2", b"Cookie: b=2", b"X-A: 1")
        kept = [f for f in seen.fields if f[0].lower() in (b"x-a", b"cookie")]
        self.assertEqual(
            kept,
            [
                (b"X-A", b"1"),
                (b"Cookie", b"a=1"),
                (b"x-a", b"2"),
                (b"Cookie", b"b=2"),
                (b"X-A", b"1"),
            ],
        )

    async def test_fields_of_the_hop_stay_behind(self):
        seen = await self.send(
            b"Connection: keep-alive, X-Mine, Close2",
            b"X-Mine: 1",
            b"Close2: 1",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"Proxy-Authorization: Basic eA==",
            b"TE: gzip",
            b"Upgrade: foo",
            b"HTTP2-Settings: AAA",
            b"X-Yours: 2",
        )
        names = {name.lower() for name, _ in seen.fields}
        for name in (
            b"connection",
            b"x-mine",
            b"close2",
            b"keep-alive",
            b"proxy-connection",
            b"proxy-authorization",
            b"te",
            b"upgrade",
            b"http2-settings",
        ):
            self.assertNotIn(name, names)
        self.assertEqual(seen.get(b"x-yours"), b"2")

    async def test_te_trailers_is_offered_anew(self):
        seen = await self.send(b"Connection: TE", b"TE: trailers, gzip")
        self.assertEqual(seen.get(b"te"), b"trailers")
        self.assertEqual(seen.get(b"connection"), b"TE")

    async def test_proxy_says_who_asked(self):
        seen = await self.send()
        self.assertEqual(seen.get(b"via"), b"1.1 txrproxy")
        self.assertEqual(seen.get(b"x-forwarded-for"), b"127.0.0.1")
        self.assertEqual(seen.get(b"x-forwarded-proto"), b"http")
        self.assertEqual(seen.get(b"x-forwarded-host"), b"a.example:81")
        self.assertEqual(seen.get(b"forwarded"), b'host="a.example:81";for=127.0.0.1;proto=http')
        self.assertTrue(seen.get(b"x-request-id"))

    async def test_what_a_stranger_says_of_himself_is_dropped(self):
        seen = await self.send(
            b"X-Forwarded-For: 6.6.6.6",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Host: evil",
            b"X-Forwarded-Port: 1",
            b"X-Forwarded-Prefix: /evil",
            b"Forwarded: for=6.6.6.6",
            b"X-Real-IP: 6.6.6.6",
            b"X-Request-Id: evil",
            b"Via: 1.1 evil",
            b"X_Forwarded_For: 6.6.6.6",
            b"X-Forwarded_For: 6.6.6.6",
            b"Content_Length: 5",
            b"Transfer_Encoding: chunked",
        )
        self.assertNotIn(b"evil", seen.raw_head)
        self.assertNotIn(b"6.6.6.6", seen.raw_head)
        self.assertNotIn(b"_", seen.raw_head)
        self.assertEqual(seen.get(b"x-forwarded-for"), b"127.0.0.1")

    async def test_what_a_trusted_proxy_says_is_believed(self):
        seen = await self.send(
            b"X-Forwarded-For: 203.0.113.9",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Host: www.example",
            b"Forwarded: for=203.0.113.9",
            b"X-Request-Id: abc-1",
            b"Via: 2 edge",
            server='trusted_proxies = ["127.0.0.0/8"]',
        )
        self.assertEqual(seen.get(b"x-forwarded-for"), b"203.0.113.9, 127.0.0.1")
        self.assertEqual(seen.get(b"x-forwarded-proto"), b"https")
        self.assertEqual(seen.get(b"x-forwarded-host"), b"www.example")
        self.assertTrue(seen.get(b"forwarded").startswith(b"for=203.0.113.9, "))
        self.assertEqual(seen.get(b"x-request-id"), b"abc-1")
        self.assertEqual(seen.get(b"via"), b"2 edge, 1.1 txrproxy")

    async def test_configured_changes(self):
        seen = await self.send(
            b"X-Old: 1",
            b"X-Set: 1",
            b"X-Set: 2",
            b"X-Add: 1",
            policy=(
                'request_headers = { set = { x-set = "new" }, add = { x-add = "2" },'
                ' remove = ["x-old"] }'
            ),
        )
        self.assertEqual(seen.all(b"x-old"), [])
        self.assertEqual(seen.all(b"x-set"), [b"new"])
        self.assertEqual(seen.all(b"x-add"), [b"1", b"2"])

    async def test_host_is_preserved(self):
        self.assertEqual((await self.send()).get(b"host"), b"a.example:81")

    async def test_host_of_the_backend(self):
        origin, _, client = await self.pair(pool='host = "backend"')
        seen, _ = await self.exchange(client, origin)
        self.assertEqual(seen.get(b"host"), origin.address.encode())

    async def test_host_by_name(self):
        seen = await self.send(pool='host = "inner.example"')
        self.assertEqual(seen.get(b"host"), b"inner.example")

    async def test_content_length_zero_stays(self):
        origin, _, client = await self.pair()
        request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        seen, _ = await self.exchange(client, origin, request)
        self.assertEqual(seen.get(b"content-length"), b"0")

    async def test_http_10_client_becomes_http_11_at_the_backend(self):
        origin, _, client = await self.pair()
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        seen = await origin.request()
        self.assertEqual(seen.start, b"GET / HTTP/1.1")
        self.assertEqual(seen.get(b"via"), b"1.0 txrproxy")
        origin.reply(EMPTY_OK)
        response = await client.response()
        self.assertEqual(response.start, b"HTTP/1.1 200 OK")
        self.assertEqual(response.get(b"connection"), b"close")
        await client.closing()

    async def test_a_client_that_names_no_host_is_not_given_that_of_the_backend(self):
        """A page with links to it would tell where the backend is (RFC 9110 section 7.2)."""
        origin, proxy, _ = await self.pair()
        for request in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"):
            client = await self.client(proxy)
            client.send(request)
            seen = await origin.request()
            self.assertEqual(seen.get(b"host"), b"")
            self.assertEqual(seen.all(b"x-forwarded-host"), [])
            origin.reply(EMPTY_OK)
            await client.response()


class ResponseFieldTests(Scenario):
    async def receive(self, *lines, target=b"/", host=b"a.example", **parts):
        """The response that a client sees for these lines."""
        origin, _proxy, client = await self.pair(**parts)
        self.port = origin.address.encode()
        lines = [line.replace(b"ORIGIN", self.port) for line in lines]
        request = b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        return (await self.exchange(client, origin, request, ok(b"", *lines)))[1]

    async def test_repeated_fields_keep_order_number_and_spelling(self):
        response = await self.receive(b"Set-Cookie: a=1", b"x-A: 1", b"Set-Cookie: b=2", b"X-a: 2")
        kept = [f for f in response.fields if f[0].lower() in (b"x-a", b"set-cookie")]
        self.assertEqual(
            kept,
            [(b"Set-Cookie", b"a=1"), (b"x-A", b"1"), (b"Set-Cookie", b"b=2"), (b"X-a", b"2")],
        )

    async def test_fields_of_the_hop_stay_behind(self):
        response = await self.receive(
            b"Connection: keep-alive, X-Mine",
            b"X-Mine: 1",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"Proxy-Authenticate: Basic",
            b"Upgrade: h2c",
        )
        for name in (b"connection", b"x-mine", b"keep-alive", b"proxy-connection", b"upgrade"):
            self.assertIsNone(response.get(name), name)
        self.assertIsNone(response.get(b"proxy-authenticate"))

    async def test_request_id_is_returned_and_date_made(self):
        origin, proxy, client = await self.pair()
        seen, response = await self.exchange(client, origin)
        self.assertEqual(response.get(b"x-request-id"), seen.get(b"x-request-id"))
        self.assertEqual(proxy.log.records[0].request_id, seen.get(b"x-request-id"))
        self.assertTrue(response.get(b"date").endswith(b"GMT"))

    async def test_date_of_the_origin_stays(self):
        response = await self.receive(b"Date: Tue, 15 Nov 1994 08:12:31 GMT")
        self.assertEqual(response.all(b"date"), [b"Tue, 15 Nov 1994 08:12:31 GMT"])

    async def test_reason_phrase_stays(self):
        origin, _, client = await self.pair()
        reply = b"HTTP/1.1 418 I am a teapot\r\nContent-Length: 0\r\n\r\n"
        _, response = await self.exchange(client, origin, GET, reply)
        self.assertEqual(response.start, b"HTTP/1.1 418 I am a teapot")

    async def test_hide(self):
        response = await self.receive(
            b"Server: x/1", b"X-Powered-By: y", b"X-Kept: 1", policy='hide = ["server"]'
        )
        self.assertIsNone(response.get(b"server"))
        self.assertEqual(response.get(b"x-kept"), b"1")
        self.assertEqual(response.get(b"x-powered-by"), b"y")

    async def test_configured_changes(self):
        response = await self.receive(
            b"X-Old: 1",
            b"X-Set: 1",
            b"Vary: a",
            policy=(
                'response_headers = { set = { x-set = "new" }, add = { vary = "b" },'
                ' remove = ["x-old"] }'
            ),
        )
        self.assertEqual(response.all(b"x-old"), [])
        self.assertEqual(response.all(b"x-set"), [b"new"])
        self.assertEqual(response.all(b"vary"), [b"a", b"b"])

    async def test_changes_of_several_policies(self):
        toml = self.config(
            "http://ORIGIN",
            route='use = ["one", "two", "one"]',
            more="""
            [policies.one]
            hide = ["x-one"]
            response_headers = { set = { x-set = "1" }, add = { x-add = "1" } }
            [policies.two]
            hide = ["x-two"]
            response_headers = { set = { X-Set = "2" }, add = { x-add = "2" }, remove = ["x-old"] }
            """,
        )
        origin = await self.origin()
        proxy = await self.proxy(toml=toml.replace("http://ORIGIN", origin.url))
        client = await self.client(proxy)
        fields = (b"X-One: 1", b"X-Two: 1", b"X-Old: 1", b"X-Set: 0", b"X-Add: 0")
        _, response = await self.exchange(client, origin, reply=ok(b"", *fields))
        for gone in (b"x-one", b"x-two", b"x-old"):
            self.assertEqual(response.all(gone), [])
        self.assertEqual(response.all(b"x-set"), [b"2"])
        self.assertEqual(response.all(b"x-add"), [b"0", b"1", b"2"])

    async def test_backend_address_becomes_the_public_one(self):
        response = await self.receive(
            b"Location: http://ORIGIN/next?x=1#f",
            b"Content-Location: //ORIGIN/here",
            b"Refresh: 5; url=http://ORIGIN/later",
            b"Set-Cookie: a=1; Domain=127.0.0.1; Path=/",
            host=b"www.example:8080",
        )
        self.assertEqual(response.get(b"location"), b"http://www.example:8080/next?x=1#f")
        self.assertEqual(response.get(b"content-location"), b"//www.example:8080/here")
        self.assertEqual(response.get(b"refresh"), b"5; url=http://www.example:8080/later")
        self.assertEqual(response.get(b"set-cookie"), b"a=1; Domain=www.example; Path=/")

    async def test_other_addresses_stay(self):
        response = await self.receive(b"Location: https://elsewhere.example/x")
        self.assertEqual(response.get(b"location"), b"https://elsewhere.example/x")

    async def test_location_gets_back_the_prefix_that_was_stripped(self):
        response = await self.receive(
            b"Location: http://ORIGIN/next",
            target=b"/app/x",
            route='rewrite = { strip_prefix = "/app" }',
        )
        self.assertEqual(response.get(b"location"), b"http://a.example/app/next")


class ErrorPageTests(Scenario):
    async def test_json_and_html_by_accept_and_nothing_of_the_inside(self):
        origin = await self.origin()
        proxy = await self.proxy(origin)
        await origin.stop()
        for accept, content_type in (
            (b"text/html", b"text/html; charset=utf-8"),
            (b"application/json", b"application/json"),
        ):
            client = await self.client(proxy)
            response = await self.ask(
                client, b"GET / HTTP/1.1\r\nHost: a\r\nAccept: " + accept + b"\r\n\r\n"
            )
            self.assertEqual(response.status, 502)
            self.assertEqual(response.get(b"content-type"), content_type)
            self.assertIn(response.get(b"x-request-id"), response.body)
            self.assertNotIn(origin.address.split(":")[1].encode(), response.body)
            if accept == b"application/json":
                self.assertEqual(json.loads(response.body)["status"], 502)
