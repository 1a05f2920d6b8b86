"""What one client sends must not change what others get: a table of ways to try.

Each row is asked first, by the attacker, and answered by an origin that echoes all that it was told
in its body. Whoever asks plainly after that must get what a plain request gets: either the origin
is asked again, or the attacker's request was, to the origin, just the same.
"""

import hashlib

from twisted.internet.defer import Deferred

from tests.scenarios.harness import GET, ok
from tests.scenarios.test_caching import FRESH, Cached
from txrproxy.cache.purge import Purge

# A field that an origin may answer by, and that is in no key.
FIELDS = [
    b"X-Forwarded-Host: evil.example",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Port: 1",
    b"X-Forwarded-Prefix: /evil",
    b"X-Forwarded-Scheme: nothttps",
    b"X-Forwarded-Server: evil.example",
    b"X-Forwarded-For: 1.2.3.4",
    b"X_Forwarded_Host: evil.example",
    b"X-Real-IP: 1.2.3.4",
    b"Forwarded: host=evil.example;proto=https",
    b"X-Host: evil.example",
    b"X-Original-Host: evil.example",
    b"X-Original-URL: /evil",
    b"X-Rewrite-URL: /evil",
    b"X-Override-URL: /evil",
    b"X-HTTP-Method-Override: DELETE",
    b"X-HTTP-Method: DELETE",
    b"X-Method-Override: DELETE",
    b"X_Host: evil.example",
    b"X_Original_URL: /evil",
    b"X.Rewrite.Url: /evil",
    b"X_HTTP_Method_Override: DELETE",
    b"Via: 1.1 evil.example",
    b"Proxy: http://evil.example",
    b"Connection: close, X-Evil\r\nX-Evil: 1",
    b"Transfer-Encoding: identity",
    b"Upgrade: h2c\r\nConnection: Upgrade",
    b"Range: bytes=0-0",
    b"Authorization: Basic eDp5",
]
# Another spelling of what is asked for.
TARGETS = [
    b"//",
    b"/?",
    b"/?a=1;b=2",
    b"/?a=1&a=2",
    b"/?utm_content=x",
    b"/%2f",
    b"/.",
    b"/a/..",
    b"/%00",
    b"/\\",
    b"/;a=1",
    b"http://a.example/?",
    b"http://b.example/",
    b"http://a.example:80",
]
HOSTS = [
    b"A.Example",
    b"a.example:80",
    b"a.example:8080",
    b"a.example.",
    b"b.example",
    b"a.example:",
]


def told(request, *but):
    """What an origin could answer by, in an order of its own."""
    own = {b"x-request-id", b"x-forwarded-for", b"forwarded", *but}
    lines = sorted(n.lower() + b": " + v for n, v in request.fields if n.lower() not in own)
    return b"\n".join([request.start, *lines, request.body])


class PoisoningTests(Cached):
    async def attacked(self, client, attack):
        """The attacker asks, and is answered if the origin hears of it."""
        attacker = await self.client(self.proxied)
        attacker.send(attack)
        await self.until(lambda: self.heard() or attacker.received, "request or answer")
        if self.heard():
            seen = await self.source.request()
            self.source.reply(ok(told(seen), FRESH))
        await attacker.until(lambda: attacker.received, "an answer")
        attacker.reset()
        await attacker.ended()

    def heard(self):
        return any(wire.received and not wire.over for wire in self.source.wires)

    async def fair(self, client, plain=GET):
        """What a plain request gets."""
        client.send(plain)
        await self.until(lambda: self.heard() or client.received, "request or answer")
        if self.heard():
            seen = await self.source.request()
            self.source.reply(ok(told(seen), FRESH))
        return (await client.response()).body

    async def check_table(self, rows, **parts):
        client = await self.cached(**parts)
        client.send(GET.replace(b" / ", b" /%b " % b"fair"))
        seen = await self.source.request()
        self.source.reply(ok())
        await client.response()
        expected = told(seen).replace(b"/fair", b"/")
        for row in rows:
            await self.attacked(client, row)
            self.assertEqual(await self.fair(client), expected, row)
            self.assertEqual(await self.fair(client), expected, row)
            await self.purge()

    async def purge(self):
        purged = Deferred()
        self.store.purge(Purge("all"), lambda result, error: purged.callback(result))
        await purged

    async def test_fields(self):
        await self.check_table([GET[:-2] + field + b"\r\n\r\n" for field in FIELDS])

    async def test_targets(self):
        await self.check_table([GET.replace(b" / ", b" %b " % target) for target in TARGETS])

    async def test_hosts(self):
        await self.check_table([GET.replace(b"a.example", host) for host in HOSTS])

    async def test_two_hosts(self):
        rows = [GET[:-2] + b"Host: b.example\r\n\r\n", GET.replace(b"Host", b" Host")]
        await self.check_table(rows)

    async def test_bodies(self):
        fat = [
            GET[:-2] + b"Content-Length: 4\r\n\r\na=b!",
            GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n4\r\na=b!\r\n0\r\n\r\n",
            GET[:-2] + b"Content-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: 3\r\n\r\na=b",
            GET.replace(b"GET", b"POST")[:-2] + b"Content-Length: 4\r\n\r\na=b!",
        ]
        await self.check_table(fat)

    async def test_selecting_fields_that_the_backend_reads_otherwise(self):
        """Nominated in Connection, or beside an alias that WSGI takes for it."""
        rows = (
            (b"accept-language", [b"Connection: close, Accept-Language", b"Accept-Language: de"]),
            (b"accept-language", [b"Accept_Language: xx"]),
            (b"origin", [b"Connection: Origin", b"Origin: https://app.example"]),
            (b"x-lang", [b"Connection: X-Lang", b"X-Lang: de"]),
            (b"x-lang", [b"X_Lang: xx"]),
            (b"cookie", [b"Connection: Cookie", b"Cookie: theme=dark"]),
        )
        client = await self.cached(
            cache=', key = ["host", "path", "query", "header:X-Lang", "cookie:theme"]'
        )
        for number, (name, lines) in enumerate(rows):
            start = b"GET /%d HTTP/1.1\r\nHost: a.example\r\n" % number
            fair = start + (lines[-1] + b"\r\n" if len(lines) > 1 else b"") + b"\r\n"
            vary = b"Vary: Accept-Language, Origin"
            attacker = await self.client(self.proxied)
            attacker.send(start + b"\r\n".join([*lines, b"", b""]))
            await self.source.request()
            self.source.reply(ok(b"evil", FRESH, vary))
            self.assertEqual((await attacker.response()).body, b"evil")
            seen, mine = await self.exchange(client, self.source, fair, ok(b"fair", FRESH, vary))
            self.assertEqual(bool(seen.all(name)), len(lines) > 1, lines)
            self.assertEqual((await self.hit(client, fair)).body, b"fair", lines)

    async def test_an_error_that_a_request_provokes_is_not_stored(self):
        client = await self.cached(cache=', default_ttl = "60s"')
        for status in (b"400 Bad", b"413 Large", b"431 Too Large", b"500 Oops", b"501 No"):
            attack = GET[:-2] + b"X-Oversized: %b\r\n\r\n" % (b"x" * 6000)
            reply = b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status
            _, answer = await self.exchange(client, self.source, attack, reply)
            if status[:3] == b"501":
                continue  # may be kept by any cache; see below for how to say that it may not
            client.send(GET)
            await self.source.request()
            self.source.reply(ok(b"fine", b"Cache-Control: no-store"))
            self.assertEqual((await client.response()).body, b"fine")

    async def test_what_a_trusted_proxy_says_is_in_the_key(self):
        client = await self.cached(server='trusted_proxies = ["127.0.0.0/8"]')
        told_of = [
            b"X-Forwarded-Host: b.example",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Prefix: /b",
            b"Forwarded: for=1.2.3.4;host=c.example",
        ]
        for field in told_of:
            body = hashlib.sha256(field).hexdigest().encode()
            asked = GET[:-2] + field + b"\r\n\r\n"
            await self.exchange(client, self.source, asked, ok(body, FRESH))
        await self.exchange(client, self.source, GET, ok(b"plain", FRESH))
        self.assertEqual((await self.hit(client)).body, b"plain")
        for field in told_of:
            body = hashlib.sha256(field).hexdigest().encode()
            self.assertEqual((await self.hit(client, GET[:-2] + field + b"\r\n\r\n")).body, body)

    async def test_the_clients_address_is_not_in_the_key(self):
        client = await self.cached(server='trusted_proxies = ["127.0.0.0/8"]')
        one, two = (GET[:-2] + b"X-Forwarded-For: 1.2.3.%d\r\n\r\n" % n for n in (1, 2))
        await self.exchange(client, self.source, one, ok(b"x", FRESH))
        self.assertEqual((await self.hit(client, two)).body, b"x")

    async def test_query_is_kept_as_it_is(self):
        client = await self.cached()
        for query in (b"?a=1&b=2", b"?b=2&a=1", b"?a=1;b=2", b"?a=1&b=2&", b"?A=1&b=2", b"?"):
            asked = GET.replace(b" / ", b" /%b " % query)
            seen, _ = await self.exchange(client, self.source, asked, ok(query, FRESH))
            self.assertEqual(seen.target, b"/" + query)
            self.assertEqual((await self.hit(client, asked)).body, query)
