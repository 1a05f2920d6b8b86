"""Access, limits and CORS before a pool, a redirect and a resource."""

from twisted.internet import reactor

from tests.scenarios.harness import EMPTY_OK, GET, Scenario, ok
from txrproxy.config.build import build
from txrproxy.config.toml import loads

PROXIED = 'trusted_proxies = ["127.0.0.1"]'


def get(*fields, method=b"GET", path=b"/"):
    lines = b"".join(line + b"\r\n" for line in fields)
    return b"%b %b HTTP/1.1\r\nHost: a.example\r\n%b\r\n" % (method, path, lines)


def from_client(address, *fields):
    return get(b"X-Forwarded-For: " + address, *fields)


class AccessTests(Scenario):
    async def test_denied(self):
        _, proxy, client = await self.pair(policy='deny = ["127.0.0.0/8"]')
        response = await self.ask(client, GET)
        self.assertEqual(response.status, 403)
        self.assertEqual(proxy.log.reasons, [b"forbidden"])

    async def test_the_client_behind_a_trusted_proxy_counts(self):
        policy = 'allow = ["192.0.2.0/24", "2001:db8::/32"]\ndeny = ["192.0.2.66"]'
        origin, _, client = await self.pair(policy=policy, server=PROXIED)
        for address, status in (
            (b"192.0.2.1", 200),
            (b"192.0.2.66", 403),
            (b"::ffff:192.0.2.1", 200),
            (b"::ffff:192.0.2.66", 403),
            (b"2001:db8::1", 200),
            (b"198.51.100.1", 403),
            (b"192.0.2.1, 198.51.100.1", 403),  # what is left of a stranger is its own claim
        ):
            client.send(from_client(address))
            if status == 200:
                await origin.request()
                origin.reply(EMPTY_OK)
            self.assertEqual((await client.response()).status, status, address)

    async def test_before_what_the_proxy_answers_itself(self):
        toml = self.config(
            "http://127.0.0.1:1",
            policy='deny = ["127.0.0.1"]',
            more='[[routes]]\nname = "r"\nmatch = { path = "/r" }\nuse = ["rules"]\n'
            'respond = { status = 200, body = "secret" }',
        )
        client = await self.client(await self.proxy(toml=toml))
        response = await self.ask(client, get(path=b"/r"))
        self.assertEqual(response.status, 403)
        self.assertNotIn(b"secret", response.body)


class RateTests(Scenario):
    async def test_beyond_the_rate(self):
        policy = 'rate_limit = { rate = "1/h", burst = 1 }'
        origin, proxy, client = await self.pair(policy=policy)
        for _ in range(2):
            _, response = await self.exchange(client, origin)
            self.assertEqual(response.status, 200)
            self.assertEqual(response.all(b"RateLimit"), [])
        response = await self.ask(client, GET)
        self.assertEqual(response.status, 429)
        wait = int(response.get(b"Retry-After"))
        self.assertTrue(0 < wait <= 3600, wait)
        self.assertEqual(response.get(b"RateLimit"), b'"default";r=0;t=%d' % wait)
        self.assertEqual(response.get(b"RateLimit-Policy"), b'"default";q=2;w=7200')
        self.assertEqual(proxy.log.reasons[-1], b"rate_limited")

    async def test_it_passes_again(self):
        policy = 'rate_limit = { rate = "1/s" }'
        origin, proxy, client = await self.pair(policy=policy, timed=True)
        await self.exchange(client, origin)
        self.assertEqual((await self.ask(client, GET)).status, 429)
        proxy.wait(1)
        self.assertEqual((await self.exchange(client, origin))[1].status, 200)

    async def test_told_with_every_response(self):
        policy = 'rate_limit = { rate = "1/h", burst = 4, fields = true }'
        origin, _, client = await self.pair(policy=policy)
        for left in (4, 3):
            _, response = await self.exchange(client, origin)
            self.assertIn(b'"default";r=%d;t=' % left, response.get(b"RateLimit"))
            self.assertEqual(response.get(b"RateLimit-Policy"), b'"default";q=5;w=18000')

    async def test_keys(self):
        policy = 'rate_limit = { rate = "1/h", key = "header:X-Key" }'
        origin, _, client = await self.pair(policy=policy, server=PROXIED)
        one, other = b"192.0.2.1", b"192.0.2.2"
        for request, status in (
            (from_client(one, b"X-Key: a"), 200),
            (from_client(other, b"X-Key: a"), 429),
            (from_client(other, b"X-Key: b"), 200),
            (from_client(one), 200),  # without a key its address counts
            (from_client(one), 429),
            (from_client(other, b"X-Key: 192.0.2.1"), 200),  # which nobody can claim by a key
        ):
            client.send(request)
            if status == 200:
                await origin.request()
                origin.reply(EMPTY_OK)
            self.assertEqual((await client.response()).status, status, request)

    async def test_an_ipv6_client_is_its_network(self):
        policy = 'rate_limit = { rate = "1/h" }'
        origin, _, client = await self.pair(policy=policy, server=PROXIED)
        await self.exchange(client, origin, from_client(b"2001:db8:0:1::1"))
        response = await self.ask(client, from_client(b"2001:db8:0:1:ffff::2"))
        self.assertEqual(response.status, 429)
        await self.exchange(client, origin, from_client(b"2001:db8:0:2::1"))

    async def test_routes_count_together_or_apart(self):
        for key, status in (("client_ip", 429), ("client_ip+route", 200)):
            toml = self.config(
                "http://127.0.0.1:1",
                policy=f'rate_limit = {{ rate = "1/h", key = "{key}" }}',
            ).replace(
                "[[routes]]",
                "".join(
                    f'[[routes]]\nname = "{name}"\nmatch = {{ path = "/{name}" }}\n'
                    'use = ["rules"]\nrespond = { status = 200 }\n'
                    for name in "xy"
                )
                + "[[routes]]",
                1,
            )
            client = await self.client(await self.proxy(toml=toml))
            self.assertEqual((await self.ask(client, get(path=b"/x"))).status, 200)
            self.assertEqual((await self.ask(client, get(path=b"/y"))).status, status)

    async def test_a_refused_body_is_not_read(self):
        policy = 'rate_limit = { rate = "1/h" }'
        origin, _, client = await self.pair(policy=policy)
        await self.exchange(client, origin)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc")
        self.assertEqual((await client.response()).status, 429)
        await client.ended()


class ConnectionTests(Scenario):
    async def test_at_a_time(self):
        policy = "connection_limit = { limit = 1 }"
        origin, proxy, first = await self.pair(policy=policy)
        second = await self.client(proxy)
        first.send(GET)
        await origin.request()
        self.assertEqual((await self.ask(second, GET)).status, 429)
        self.assertEqual(proxy.log.reasons, [b"too_many_connections"])
        origin.reply(EMPTY_OK)
        await first.response()
        self.assertEqual((await self.exchange(second, origin))[1].status, 200)

    async def test_a_client_that_leaves_gives_its_place_back(self):
        policy = "connection_limit = { limit = 1 }"
        origin, proxy, first = await self.pair(policy=policy)
        first.send(GET)
        await origin.request()
        first.transport.abortConnection()
        await proxy.log.record()
        second = await self.client(proxy)
        self.assertEqual((await self.exchange(second, origin))[1].status, 200)

    async def test_a_tunnel_counts(self):
        policy = "connection_limit = { limit = 1 }"
        origin, proxy, first = await self.pair(policy=policy)
        first.send(get(b"Connection: upgrade", b"Upgrade: echo"))
        await origin.request()
        origin.reply(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
        )
        await first.until(lambda: b"\r\n\r\n" in first.received, "101")
        second = await self.client(proxy)
        self.assertEqual((await self.ask(second, GET)).status, 429)
        first.transport.abortConnection()
        await self.until(lambda: len(proxy.log.records) == 2, "the end of the tunnel")
        self.assertEqual((await self.exchange(second, origin))[1].status, 200)


class CorsTests(Scenario):
    POLICY = (
        'cors = { origins = ["https://app.example"], methods = ["GET", "PUT"], '
        'headers = ["X-Token"], expose = ["X-Total"], credentials = true }'
    )
    ORIGIN = b"Origin: https://app.example"
    WANTED = b"Access-Control-Request-Method: PUT"

    async def test_preflight(self):
        origin, proxy, client = await self.pair(policy=self.POLICY)
        request = get(
            self.ORIGIN,
            self.WANTED,
            b"Access-Control-Request-Headers: x-token",
            method=b"OPTIONS",
        )
        response = await self.ask(client, request)
        self.assertEqual(response.status, 204)
        self.assertEqual(response.get(b"Access-Control-Allow-Origin"), b"https://app.example")
        self.assertEqual(response.get(b"Access-Control-Allow-Methods"), b"GET, PUT")
        self.assertEqual(response.get(b"Access-Control-Allow-Headers"), b"x-token")
        self.assertEqual(response.get(b"Access-Control-Allow-Credentials"), b"true")
        self.assertEqual(response.get(b"Access-Control-Max-Age"), b"600")
        self.assertIn(b"Origin", response.get(b"Vary"))
        self.assertEqual(proxy.log.reasons, [b"preflight"])
        self.assertEqual(origin.wires, [])

    async def test_preflight_of_others(self):
        _, proxy, client = await self.pair(policy=self.POLICY)
        for fields in (
            (b"Origin: https://evil.example", self.WANTED),
            (self.ORIGIN, b"Access-Control-Request-Method: DELETE"),
            (self.ORIGIN, self.WANTED, b"Access-Control-Request-Headers: x-other"),
        ):
            response = await self.ask(client, get(*fields, method=b"OPTIONS"))
            self.assertEqual(response.status, 403)
            self.assertEqual(response.all(b"Access-Control-Allow-Origin"), [])
            self.assertEqual(response.all(b"Vary"), [b"Origin"])
        self.assertEqual(set(proxy.log.reasons), {b"cors_refused"})

    async def test_a_plain_options_goes_on(self):
        origin, _, client = await self.pair(policy=self.POLICY)
        seen, _ = await self.exchange(client, origin, get(method=b"OPTIONS"))
        self.assertEqual(seen.method, b"OPTIONS")

    async def test_responses(self):
        origin, _, client = await self.pair(policy=self.POLICY)
        reply = ok(b"x", b"Access-Control-Allow-Origin: *", b"Vary: Accept")
        _, response = await self.exchange(client, origin, get(self.ORIGIN), reply)
        self.assertEqual(response.get(b"Access-Control-Allow-Origin"), b"https://app.example")
        self.assertEqual(response.get(b"Access-Control-Expose-Headers"), b"X-Total")
        self.assertEqual(response.all(b"Vary"), [b"Accept", b"Origin"])
        for fields in ((), (b"Origin: https://evil.example",)):
            _, response = await self.exchange(client, origin, get(*fields), reply)
            self.assertEqual(response.all(b"Access-Control-Allow-Origin"), [])
            self.assertEqual(response.all(b"Vary"), [b"Accept", b"Origin"])

    async def test_on_the_answers_of_limits(self):
        """A page that asks too often is to learn when it may come again."""
        for limit, reason in (
            ('rate_limit = { rate = "1/h" }', b"rate_limited"),
            ('deny = ["127.0.0.1"]', b"forbidden"),
        ):
            origin, proxy, client = await self.pair(policy=f"{limit}\n{self.POLICY}")
            if reason == b"rate_limited":
                await self.exchange(client, origin, get(self.ORIGIN))
            for field, allowed in (
                (self.ORIGIN, [b"https://app.example"]),
                (b"Origin: https://evil.example", []),
            ):
                response = await self.ask(client, get(field))
                self.assertEqual(response.all(b"Access-Control-Allow-Origin"), allowed)
                self.assertEqual(response.all(b"Vary"), [b"Origin"])
            self.assertEqual(proxy.log.reasons[-2:], [reason] * 2)

    async def test_on_the_answers_of_other_policies(self):
        policy = self.POLICY + '\nbasic_auth = { users = "env:TXRPROXY_TEST_USERS" }'
        import os

        os.environ["TXRPROXY_TEST_USERS"] = "a:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"
        self.addCleanup(os.environ.pop, "TXRPROXY_TEST_USERS")
        _, _, client = await self.pair(policy=policy)
        response = await self.ask(client, get(self.ORIGIN))
        self.assertEqual(response.status, 401)
        self.assertEqual(response.get(b"Access-Control-Allow-Origin"), b"https://app.example")
        request = get(self.ORIGIN, self.WANTED, method=b"OPTIONS")
        self.assertEqual((await self.ask(client, request)).status, 204)  # it has no password


class ReloadTests(Scenario):
    async def test_counts_stay_and_what_is_gone_stops(self):
        text = self.config("http://127.0.0.1:1", policy='rate_limit = { rate = "1/h" }')
        text = text.replace('pool = "app"', "respond = { status = 200 }")
        proxy = await self.proxy(toml=text)
        graph = proxy.graph
        client = await self.client(proxy)
        self.assertEqual((await self.ask(client, GET)).status, 200)
        for changed, status in (
            (text + "\n", 429),
            (text.replace("1/h", "2/h"), 200),  # another limit begins anew
            (text.replace("[policies.rules]", "[policies.rules]\ndeny = ['127.0.0.1']"), 403),
            (text, 200),
        ):
            graph = proxy.graph = reloaded(graph, changed)
            self.assertEqual((await self.ask(client, GET)).status, status, changed)
            kept = {kind for _, kind in graph.policies.parts}
            self.assertEqual("access" in kept, "deny" in changed)


def reloaded(old, text):
    """The graph of another file, in the place of one that runs."""
    new = build(loads(text), reactor, old.log, old=old)
    new.take_over(old)
    return new
