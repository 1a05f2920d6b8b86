"""Nothing of the inside reaches a client: the search that all scenarios make, and every way out."""

from pathlib import Path

from tests.scenarios.harness import EMPTY_OK, GET, Refusing, Scenario, ok
from tests.scenarios.inside import Inside
from tests.scenarios.test_caching import FRESH, Cached
from tests.scenarios.tls import SecureScenario
from txrproxy import exchange

# What a backend may say of where it is, with its own address for ORIGIN.
TELLING = (
    b"Location: http://ORIGIN/next?a=1",
    b"Location: http://ORIGIN",
    b"Location: //ORIGIN/next",
    b"Location: HTTP://ORIGIN//next",
    b"Location: http://user@ORIGIN/next",
    b"Content-Location: http://ORIGIN/here",
    b"Refresh: 5; url=http://ORIGIN/later",
    b"Refresh: 5; url='http://ORIGIN/later",
    b"Link: <http://ORIGIN/a.css>; rel=preload, <//ORIGIN/b.js>; rel=preload",
    b'Report-To: {"endpoints":[{"url":"http://ORIGIN/report"}]}',
    b'Reporting-Endpoints: default="http://ORIGIN/report"',
    b"SourceMap: http://ORIGIN/a.map",
    b"X-SourceMap: http://ORIGIN/a.map",
    b"X-Pingback: http://ORIGIN/xmlrpc",
    b'WWW-Authenticate: Bearer realm="http://ORIGIN/token",service="a"',
    b'Alt-Svc: h2="ORIGIN"; ma=60',
)
NAMED = (
    b"Set-Cookie: a=1; Domain=BACKEND; Path=/",
    b"Set-Cookie: a=1; domain=.BACKEND",
    b"Location: http://BACKEND/next",
    b"Location: http://BACKEND.:80/next",
)
# What policies hide unless they say otherwise.
SOFTWARE = (
    b"Server: apache/2.4",
    b"X-Powered-By: PHP/8.1",
    b"Via: 1.1 inner",
    b'Alt-Svc: h3=":443"',
    b"X-AspNet-Version: 4.0",
    b"X-AspNetMvc-Version: 5.2",
)
HTTP_10 = b"GET / HTTP/1.0\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
TRAILERS = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n"
CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def check_hidden(case, message):
    told = {name.lower() for name, _ in message.fields}
    for line in SOFTWARE:
        case.assertNotIn(line.partition(b":")[0].lower(), told)


class SearchTests(Scenario):
    """What is a find, and what is none."""

    def found(self, *pieces, allow=()):
        inside = Inside()
        inside.add(b":8080", b"app.internal", b"/run/app.sock")
        inside.allow(*allow)
        wire = type("Wire", (), {"name": "client"})()
        before = b""
        for piece in pieces:
            inside.look(wire, before, piece)
            before = (before + piece)[-100:]
        return len(inside.found)

    def test_finds(self):
        for text in (
            b"10.0.0.1:8080",
            b"http://APP.internal/x",
            b"app.internal",
            b"Domain=app.internal; Path=/",
            b'"app.internal:81"',
            b"unix:/run/app.sock",
            b"port (:8080)",
        ):
            self.assertEqual(self.found(text), 1, text)
            self.assertEqual(self.found(*(text[at : at + 1] for at in range(len(text)))), 1, text)
        self.assertEqual(self.found(b"a:8080 b:8080"), 2)

    def test_no_finds(self):
        for text in (b":80801", b"8080", b"myapp.internal", b"app.internals", b"/run/app.socket"):
            self.assertEqual(self.found(text), 0, text)
        self.assertEqual(self.found(b"app.internal", allow=(b"app.internal",)), 0)

    async def test_a_leak_fails_a_scenario(self):
        """Take the rewriting away, and each address that a backend tells is found."""
        self.patch(exchange, "public_lines", lambda lines, public: list(lines))
        origin, _, client = await self.pair()
        for number, line in enumerate(TELLING):
            reply = ok(b"", line.replace(b"ORIGIN", origin.address.encode()))
            await self.exchange(client, origin, reply=reply)
            self.assertGreater(len(self.inside.found), number, line)
            self.assertIn(b":%d" % origin.port.getHost().port, self.inside.names)
        self.inside.found.clear()

    async def test_a_leak_in_a_body_or_a_tunnel_is_one(self):
        origin, _, client = await self.pair()
        await self.exchange(client, origin, reply=ok(origin.address.encode()))
        client.send(UPGRADE)
        await origin.request()
        origin.reply(SWITCHED + b"\r\n")
        await client.head()
        origin.reply(origin.address.encode())
        await client.exactly(len(origin.address))
        self.assertEqual(len(self.inside.found), 2)
        self.inside.found.clear()


class Telling(Scenario):
    """``say`` gets a head with each line of TELLING and NAMED; the harness looks at the answers."""

    def lines(self, origin):
        lines = [line.replace(b"ORIGIN", origin.address.encode()) for line in TELLING]
        return lines + [line.replace(b"BACKEND", b"backend.internal") for line in NAMED]

    async def telling(self, **parts):
        """A proxy whose backend has a name, too."""
        origin, proxy, client = await self.pair(**parts)
        pool = proxy.graph.pools["app"]
        pool.own |= {b"backend.internal", b"backend.internal:80"}
        pool.own_hosts |= {b"backend.internal"}
        self.inside.add(b"backend.internal")
        return origin, proxy, client


class ResponseTests(Telling):
    async def test_fields(self):
        origin, _, client = await self.telling()
        for line in self.lines(origin):
            _, response = await self.exchange(client, origin, reply=ok(b"hi", line))
            self.assertEqual(response.body, b"hi")

    async def test_for_a_client_that_names_no_host(self):
        origin, proxy, _ = await self.telling()
        for line in self.lines(origin):
            client = await self.client(proxy)
            _, response = await self.exchange(client, origin, HTTP_10, ok(b"hi", line))
            for name in (b"location", b"content-location"):
                for url in response.all(name):
                    self.assertRegex(url, rb"^/(?![/\\])")

    async def test_redirects_and_errors_of_the_backend(self):
        origin, _, client = await self.telling(policy='response_headers = { set = { x = "1" } }')
        for status in (b"201 C", b"301 M", b"304 N", b"404 N", b"503 U"):
            for line in self.lines(origin):
                reply = b"HTTP/1.1 %b\r\n%b\r\nContent-Length: 0\r\n\r\n" % (status, line)
                await self.exchange(client, origin, reply=reply)

    async def test_answers_to_head(self):
        origin, _, client = await self.telling()
        for line in self.lines(origin):
            await self.exchange(
                client, origin, b"HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\n", ok(b"", line)
            )

    async def test_informational(self):
        origin, _, client = await self.telling()
        for line in self.lines(origin):
            client.send(GET)
            await origin.request()
            origin.reply(b"HTTP/1.1 103 Early Hints\r\n%b\r\n\r\n" % line + EMPTY_OK)
            self.assertEqual((await client.response()).status, 103)
            self.assertEqual((await client.response()).status, 200)

    async def test_trailers(self):
        origin, _, client = await self.telling()
        for line in self.lines(origin):
            client.send(TRAILERS)
            await origin.request()
            origin.reply(CHUNKED_OK + b"0\r\nX-Sum: 1\r\n" + line + b"\r\n\r\n")
            response = await client.response()
            self.assertIn((b"X-Sum", b"1"), response.trailers)

    async def test_switching_protocols(self):
        origin, proxy, _ = await self.telling()
        for line in self.lines(origin):
            client = await self.client(proxy)
            client.send(UPGRADE)
            await origin.request()
            origin.reply(
                b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n%b\r\n\r\n" % line
            )
            self.assertEqual((await client.response()).status, 101)
            client.close()

    async def test_below_a_prefix(self):
        route = 'rewrite = { strip_prefix = "/app" }'
        origin, _, client = await self.telling(route=route, pool='host = "backend"')
        for line in self.lines(origin):
            request = b"GET /app/x HTTP/1.1\r\nHost: a.example\r\n\r\n"
            await self.exchange(client, origin, request, ok(b"", line))

    async def test_unix_socket(self):
        path = str(Path(self.mktemp()).absolute())
        origin = await self.origin(unix=path)
        proxy = await self.proxy(f"unix:{path}")
        client = await self.client(proxy)
        self.assertIn(path.encode(), self.inside.names)
        await self.exchange(client, origin)
        origin.wire.close()
        await origin.stop()
        response = await self.ask(await self.client(proxy), GET)
        self.assertEqual(response.status, 502)


class CachedTests(Cached):
    async def test_stored_and_hit(self):
        client = await self.cached()
        pool = self.proxied.graph.pools["app"]
        pool.own_hosts |= {b"backend.internal"}
        self.inside.add(b"backend.internal")
        lines = [line.replace(b"ORIGIN", self.source.address.encode()) for line in TELLING]
        lines.append(NAMED[0].replace(b"BACKEND", b"backend.internal"))
        for number, line in enumerate(lines):
            request = b"GET /%d HTTP/1.1\r\nHost: a.example\r\n\r\n" % number
            reply = ok(b"hi", FRESH + b", public", line)  # or no cookie is kept
            await self.exchange(client, self.source, request, reply)
            await self.settled()
            for _ in range(2):
                await self.hit(client, request)
            part = await self.hit(client, request[:-2] + b"Range: bytes=0-0\r\n\r\n")
            self.assertEqual(part.status, 206)

    async def test_what_is_hidden(self):
        client = await self.cached(policy='deny = ["192.0.2.1"]')
        reply = ok(b"hi", FRESH, *SOFTWARE)
        _, response = await self.exchange(client, self.source, reply=reply)
        await self.settled()
        for message in (response, await self.hit(client), await self.hit(client)):
            check_hidden(self, message)


class SecureTests(SecureScenario):
    async def test_fields(self):
        origin, _, client = await self.secure_pair()
        for line in TELLING:
            reply = ok(b"hi", line.replace(b"ORIGIN", origin.address.encode()))
            await self.exchange(client, origin, reply=reply)


class OwnAnswersTests(Scenario):
    async def test_failures(self):
        """Whatever goes wrong behind the proxy, the page that says so says nothing of it."""
        origin, proxy, _ = await self.pair()
        for accept in (b"text/html", b"application/json", b"application/problem+json"):
            request = b"GET / HTTP/1.1\r\nHost: a.example\r\nAccept: %b\r\n\r\n" % accept
            for reply in (
                b"HTTP/1.1 200 OK\r\nLocation : http://%b/\r\n\r\n" % origin.address.encode(),
                b"nonsense from %b\r\n\r\n" % origin.address.encode(),
                None,
            ):
                client = await self.client(proxy)
                client.send(request)
                await origin.request()
                if reply is None:
                    origin.wire.reset()
                else:
                    origin.reply(reply)
                self.assertEqual((await client.response()).status, 502)
        refusing = Refusing()
        self.addCleanup(refusing.close)
        away = await self.proxy(refusing.url)
        response = await self.ask(await self.client(away), GET)
        self.assertEqual(response.status, 502)

    async def test_login_of_another_server(self):
        login, origin = await self.origin("login"), await self.origin()
        proxy = await self.proxy(origin, policy=f'forward_auth = {{ url = "{login.url}/check" }}')
        for line in TELLING:
            client = await self.client(proxy)
            client.send(GET)
            await login.request()
            told = line.replace(b"ORIGIN", login.address.encode())
            login.reply(b"HTTP/1.1 401 U\r\nContent-Length: 0\r\n%b\r\n\r\n" % told)
            self.assertEqual((await client.response()).status, 401)


class HideTests(Scenario):
    """What policies hide by default, on every way."""

    def check(self, message):
        check_hidden(self, message)

    async def test_hidden(self):
        origin, _, client = await self.pair(policy='deny = ["192.0.2.1"]')
        for status in (b"200 OK", b"302 F", b"404 N", b"500 E"):
            head = b"\r\n".join((b"HTTP/1.1 " + status, b"Content-Length: 0", *SOFTWARE))
            _, response = await self.exchange(client, origin, reply=head + b"\r\n\r\n")
            self.check(response)
        client.send(GET)
        await origin.request()
        origin.reply(b"\r\n".join((b"HTTP/1.1 103 H", *SOFTWARE)) + b"\r\n\r\n" + EMPTY_OK)
        self.check(await client.response())
        self.check(await client.response())

    async def test_trailers(self):
        origin, _, client = await self.pair(policy='deny = ["192.0.2.1"]')
        client.send(TRAILERS)
        await origin.request()
        block = b"\r\n".join(SOFTWARE)
        origin.reply(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n%b\r\n\r\n" % block
        )
        self.assertEqual((await client.response()).trailers, [])

    async def test_own_answers(self):
        """The proxy does not say what it is either."""
        proxy = await self.proxy("http://127.0.0.1:9")
        for request in (GET, b"nonsense\r\n\r\n", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"):
            self.check(await (await self.client(proxy)).send(request).response())

    async def test_login_of_another_server(self):
        login, origin = await self.origin("login"), await self.origin()
        proxy = await self.proxy(origin, policy=f'forward_auth = {{ url = "{login.url}/check" }}')
        client = await self.client(proxy)
        client.send(GET)
        await login.request()
        lines = b"\r\n".join(SOFTWARE)
        login.reply(b"HTTP/1.1 302 F\r\nContent-Length: 0\r\n%b\r\n\r\n" % lines)
        self.check(await client.response())
