"""Which route takes a request, seen from outside."""

from tests.scenarios.harness import GET, Scenario

HEAD = """
    version = 1
    [listeners.http]
    bind = ["127.0.0.1:0"]
"""


def route(name, match, action=None):
    action = action or f'respond = {{ status = 200, body = "{name}" }}'
    return f'[[routes]]\nname = "{name}"\nmatch = {{ {match} }}\n{action}\n'


class RoutingTests(Scenario):
    async def serve(self, *routes, more=""):
        return await self.proxy(toml=HEAD + more + "".join(routes))

    async def taker(self, proxy, target=b"/", host=b"a.example", method=b"GET", *lines):
        """The body that a route answers with, else the status."""
        client = await self.client(proxy)
        block = b"".join(line + b"\r\n" for line in lines)
        response = await self.ask(
            client,
            method + b" " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + block + b"\r\n",
        )
        client.close()
        return response.body if response.status == 200 else response.status

    async def test_host(self):
        proxy = await self.serve(
            route("exact", 'host = ["a.example", "b.example"]'),
            route("below", 'host = "*.example"'),
            route("six", 'host = "[::1]"'),
        )
        for host, expected in (
            (b"a.example", b"exact"),
            (b"A.Example:8080", b"exact"),
            (b"a.example.", b"exact"),
            (b"b.example", b"exact"),
            (b"c.example", b"below"),
            (b"d.c.example", b"below"),
            (b"example", 404),
            (b"xexample", 404),
            (b"[::1]:80", b"six"),
            (b"[0:0::1]", b"six"),
        ):
            self.assertEqual(await self.taker(proxy, host=host), expected, host)

    async def test_path(self):
        proxy = await self.serve(
            route("exact", 'path = "/exact"'),
            route("static", 'path = ["/static/*", "/assets/*"]'),
            route("prefix", 'path = "/pre*"'),
        )
        for target, expected in (
            (b"/exact", b"exact"),
            (b"/exact?x", b"exact"),
            (b"/exact/", 404),
            (b"/static/", b"static"),
            (b"/static/a/b", b"static"),
            (b"/assets/x", b"static"),
            (b"/prefix", b"prefix"),
            (b"/pr", 404),
            (b"http://a.example/exact", b"exact"),
        ):
            self.assertEqual(await self.taker(proxy, target), expected, target)

    async def test_first_of_several_wins(self):
        proxy = await self.serve(
            route("one", 'path = "/a*"'), route("two", 'path = "/a/b"'), route("rest", "")
        )
        self.assertEqual(await self.taker(proxy, b"/a/b"), b"one")
        self.assertEqual(await self.taker(proxy, b"/b"), b"rest")

    async def test_method_field_query_regex_and_client(self):
        proxy = await self.serve(
            route("method", 'path = "/m", method = ["PUT", "DELETE"]'),
            route("field", 'path = "/f", header = { X-Tier = ["beta", "gamma"] }'),
            route("query", 'path = "/q", query = { v = "2 a" }'),
            route("regex", 'path_regex = "^/r/[0-9]+$"'),
            route("here", 'path = "/c", client = ["127.0.0.0/8"]'),
            route("there", 'path = "/d", client = ["10.0.0.0/8"]'),
            route("all keys", 'path = "/k", method = "GET", query = { a = "1", b = "2" }'),
        )
        for expected, target, method, *lines in (
            (b"method", b"/m", b"PUT"),
            (404, b"/m", b"GET"),
            (b"field", b"/f", b"GET", b"x-tier: beta"),
            (b"field", b"/f", b"GET", b"X-Tier: other", b"X-Tier: gamma"),
            (404, b"/f", b"GET", b"X-Tier: BETA"),
            (404, b"/f", b"GET"),
            (b"query", b"/q?x=1&v=2+a", b"GET"),
            (b"query", b"/q?%76=2%20a", b"GET"),
            (404, b"/q?v=2", b"GET"),
            (404, b"/q", b"GET"),
            (b"regex", b"/r/12", b"GET"),
            (404, b"/r/x", b"GET"),
            (b"here", b"/c", b"GET"),
            (404, b"/d", b"GET"),
            (b"all keys", b"/k?b=2&a=1", b"GET"),
            (404, b"/k?a=1", b"GET"),
        ):
            taken = await self.taker(proxy, target, b"a", method, *lines)
            self.assertEqual(taken, expected, (target, method, lines))

    async def test_client_behind_a_trusted_proxy(self):
        proxy = await self.serve(
            route("inside", 'client = ["10.0.0.0/8"]'),
            more='[server]\ntrusted_proxies = ["127.0.0.1/32"]\n',
        )
        for value, expected in ((b"10.1.2.3", b"inside"), (b"10.1.2.3, 8.8.8.8", 404)):
            line = b"X-Forwarded-For: " + value
            self.assertEqual(await self.taker(proxy, b"/", b"a", b"GET", line), expected)

    async def test_nothing_matched(self):
        proxy = await self.serve(route("one", 'path = "/one"'))
        client = await self.client(proxy)
        for _ in range(2):
            response = await self.ask(client, GET)
            self.assertEqual(response.status, 404)
        self.assertEqual(proxy.log.reasons, [b"no_route"] * 2)
        self.assertEqual(proxy.log.records[0].route, b"")

    async def test_connect_and_trace_are_405(self):
        origin = await self.origin()
        for match in ("", 'path = "/*"', 'path = "/nothing"'):
            proxy = await self.proxy(
                toml=HEAD
                + f'[pools.app]\nbackends = ["{origin.url}"]\n'
                + route("all", match, 'pool = "app"')
            )
            for line in (b"CONNECT a.example:443", b"TRACE /"):
                client = await self.client(proxy)
                response = await self.ask(
                    client, line + b" HTTP/1.1\r\nHost: a.example:443\r\n\r\n"
                )
                self.assertEqual(response.status, 405, (match, line))
                self.assertTrue(response.get(b"allow"))
            self.assertEqual(proxy.log.reasons, [b"method_not_allowed"] * 2)
        self.assertEqual(origin.wires, [])

    async def test_split_by_weight(self):
        origins = [await self.origin(name) for name in ("one", "two")]
        pools = "".join(
            f'[pools.{origin.name}]\nbackends = ["{origin.url}"]\n' for origin in origins
        )
        proxy = await self.proxy(
            toml=HEAD + pools + route("all", "", "split = { one = 3, two = 1 }")
        )
        for origin in origins:
            self.serve_all(origin)
        client = await self.client(proxy)
        for _ in range(40):
            await self.ask(client, GET)
        pools = [record.pool for record in proxy.log.records]
        self.assertEqual((pools.count(b"one"), pools.count(b"two")), (30, 10))
        self.assertEqual(pools[:4].count(b"one"), 3)

    def serve_all(self, origin):
        """An origin that answers every request on its own."""

        def answer(wire):
            def data_received(data):
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * data.count(b"\r\n\r\n"))

            wire.dataReceived = data_received

        origin.prepare = answer

    async def test_redirect(self):
        proxy = await self.serve(
            route(
                "moved",
                'path = "/old/*"',
                'redirect = { to = "https://new.example/x/{path}", status = 308 }',
            ),
            route("plain", "", 'redirect = { to = "https://{host}{uri}", status = 301 }'),
        )
        client = await self.client(proxy)
        response = await self.ask(client, b"POST /old/a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(response.status, 308)
        self.assertEqual(response.get(b"location"), b"https://new.example/x/a%2Fb")
        response = await self.ask(client, b"GET /p?q=1 HTTP/1.1\r\nHost: a.example:81\r\n\r\n")
        self.assertEqual(response.status, 301)
        self.assertEqual(response.get(b"location"), b"https://a.example/p?q=1")
        self.assertEqual(proxy.log.reasons, [b"redirected"] * 2)

    async def test_respond(self):
        proxy = await self.serve(
            route(
                "down",
                "",
                "respond = { status = 503, body = 'back soon',"
                ' headers = { "retry-after" = "60" } }',
            )
        )
        client = await self.client(proxy)
        response = await self.ask(client, GET)
        self.assertEqual((response.status, response.body), (503, b"back soon"))
        self.assertEqual(response.get(b"retry-after"), b"60")
        self.assertEqual(response.get(b"content-type"), b"text/plain; charset=utf-8")
        response = await self.ask(client, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(response.get(b"content-length"), b"9")
        response = await self.ask(client, GET)
        self.assertEqual(response.body, b"back soon")
        self.assertEqual(proxy.log.reasons, [b"responded"] * 3)

    async def test_redirect_https(self):
        proxy = await self.proxy(toml=HEAD + "redirect_https = 8443\n" + route("all", ""))
        client = await self.client(proxy)
        response = await self.ask(client, b"GET /a?b HTTP/1.1\r\nHost: a.example:80\r\n\r\n")
        self.assertEqual(response.status, 308)
        self.assertEqual(response.get(b"location"), b"https://a.example:8443/a?b")

    async def test_no_spelling_gets_around_a_route(self):
        proxy = await self.serve(route("admin", 'path = ["/admin", "/admin/*"]'), route("rest", ""))
        for target in (
            b"/admin",
            b"/a/%2e%2e/admin",
            b"/a/..%2fadmin",
            b"/a/..%2Fadmin",
            b"/a/..%5cadmin",
            b"//admin",
            b"/./admin",
            b"/%61dmin",
            b"/admin/",
            b"/admin/x",
            b"/a/../admin/x",
            b"/a/..;x/admin",
            b"/.//admin",
            b"/a/b/../../admin",
            b"http://a.example/a/../admin",
        ):
            self.assertEqual(await self.taker(proxy, target), b"admin", target)
        for target in (
            b"/..",
            b"/../admin",
            b"/a/../../admin",
            b"/%2e%2e/admin",
            b"/..%2fadmin",
            b"/;x/../y",
        ):
            self.assertEqual(await self.taker(proxy, target), 400, target)
        for target in (b"/administrator", b"/a/admin", b"/%2561dmin"):
            self.assertEqual(await self.taker(proxy, target), b"rest", target)

    async def test_hosts_may_change_on_one_connection(self):
        proxy = await self.serve(route("one", 'host = "a.example"'), route("two", ""))
        client = await self.client(proxy)
        for host, expected in ((b"a.example", b"one"), (b"b.example", b"two")) * 3:
            response = await self.ask(client, b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
            self.assertEqual(response.body, expected)
