"""A cached route with everything else that a route can have, and with clients of every kind."""

import os

from tests.scenarios.harness import GET, ok
from tests.scenarios.test_caching import FRESH, Cached
from tests.scenarios.test_guards_auth import BCRYPT, basic
from tests.scenarios.test_upgrade import ASK, SWITCH
from tests.scenarios.tls import ALICE, BOB, CLIENTS, SecureScenario, trusting

TAG = b'ETag: "a"'
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"


def get(target=b"/", *lines, host=b"a.example", method=b"GET", version=b"1.1"):
    fields = b"".join(line + b"\r\n" for line in lines)
    return b"%b %b HTTP/%b\r\nHost: %b\r\n%b\r\n" % (method, target, version, host, fields)


class RouteTests(Cached):
    async def test_rewrite_and_redirects_of_the_origin(self):
        client = await self.cached(route='rewrite = { strip_prefix = "/app" }')
        for host in (b"a.example", b"b.example:8080"):
            moved = b"HTTP/1.1 301 Moved\r\nLocation: %b/new\r\n%b\r\nContent-Length: 0\r\n\r\n"
            asked = get(b"/app/old", host=host)
            seen, first = await self.exchange(
                client, self.source, asked, moved % (self.source.url.encode(), FRESH)
            )
            self.assertEqual(seen.target, b"/old")
            second = await self.hit(client, asked)
            for response in (first, second):
                self.assertEqual(response.get(b"location"), b"http://%b/app/new" % host)

    async def test_headers_of_the_route(self):
        client = await self.cached(
            policy='security_headers = "basic"\n'
            'response_headers = { set = { X-Set = "set" }, add = { X-Add = "2" }, '
            'remove = ["X-Gone"] }'
        )
        reply = ok(b"x", FRESH, b"X-Set: origin", b"X-Add: 1", b"X-Gone: here", b"Server: me")
        _, first = await self.exchange(client, self.source, GET, reply)
        second = await self.hit(client)
        third = await self.hit(client, get(b"/", b"Range: bytes=0-0"))
        for response in (first, second, third):
            self.assertEqual(response.all(b"x-set"), [b"set"])
            self.assertEqual(response.all(b"x-add"), [b"1", b"2"])
            self.assertEqual(response.all(b"x-gone") + response.all(b"server"), [])
            self.assertEqual(response.get(b"x-content-type-options"), b"nosniff")
            self.assertEqual(len(response.all(b"x-request-id")), 1)
        self.assertEqual(len({r.get(b"x-request-id") for r in (first, second, third)}), 3)

    async def test_section_5_2_directives_are_passed_through(self):
        """RFC 9111 section 5.2: whether or not they mean anything to this cache."""
        client = await self.cached()
        asked = b"max-age=5, unheard-of=1, no-transform"
        said = b"max-age=60, stale-if-error=9, Unheard-Of, no-transform"
        seen, first = await self.exchange(
            client,
            self.source,
            get(b"/", b"Cache-Control: " + asked, b"Pragma: x"),
            ok(b"x" * 3000, b"Cache-Control: " + said, b"Expires: 0", b"Pragma: y"),
        )
        self.assertEqual((seen.get(b"cache-control"), seen.get(b"pragma")), (asked, b"x"))
        for response in (first, await self.hit(client)):
            self.assertEqual(response.get(b"cache-control"), said)
            self.assertEqual((response.get(b"expires"), response.get(b"pragma")), (b"0", b"y"))
            self.assertEqual(response.body, b"x" * 3000)

    async def test_a_policy_comes_before_the_cache(self):
        users = self.folder / "users"
        users.write_text(f"alice:{BCRYPT}\n")
        client = await self.cached(policy=f'basic_auth = {{ realm = "r", users = "file:{users}" }}')
        alice = get(b"/", basic())
        await self.exchange(client, self.source, alice, ok(b"x", FRESH + b", public"))
        self.assertEqual((await self.hit(client, alice)).body, b"x")
        self.assertEqual((await self.hit(client)).status, 401)
        bad = await self.hit(client, get(b"/", basic(b"alice", b"wrong")))
        self.assertEqual(bad.status, 401)

    async def test_what_is_for_credentials_is_not_stored(self):
        users = self.folder / "users"
        users.write_text(f"alice:{BCRYPT}\n")
        client = await self.cached(policy=f'basic_auth = {{ realm = "r", users = "file:{users}" }}')
        for _ in range(2):
            await self.exchange(client, self.source, get(b"/", basic()), ok(b"x", FRESH))

    async def test_what_a_policy_tells_of_the_user_selects_nothing(self):
        users = self.folder / "users"
        users.write_text(f"alice:{BCRYPT}\nbob:{BCRYPT}\n")
        client = await self.cached(policy=f'basic_auth = {{ realm = "r", users = "file:{users}" }}')
        for name in (b"alice", b"bob", b"alice"):
            seen, response = await self.exchange(
                client,
                self.source,
                get(b"/", basic(name)),
                ok(b"for " + name, FRESH + b", public", b"Vary: Remote-User"),
            )
            self.assertEqual(seen.get(b"remote-user"), name)
            self.assertEqual(response.body, b"for " + name)

    async def test_the_clients_address_selects_nothing(self):
        client = await self.cached()
        for _ in range(2):
            reply = ok(b"x", FRESH, b"Vary: X-Forwarded-For")
            await self.exchange(client, self.source, GET, reply)

    async def test_the_host_that_is_told_selects_nothing_where_it_is_not_in_the_key(self):
        client = await self.cached(cache=', key = ["path"]')
        for host in (b"a.example", b"b.example"):
            reply = ok(host, FRESH, b"Vary: X-Forwarded-Host")
            await self.exchange(client, self.source, get(host=host), reply)

    async def test_what_is_said_to_one_updates_nothing_for_all(self):
        """RFC 9111 section 3.5, for a 304 and for a HEAD."""
        client = await self.cached()
        alice = (b"Authorization: Bearer alice", b"Cache-Control: no-cache")
        await self.exchange(client, self.source, GET, ok(b"x", FRESH, TAG))
        same = b"HTTP/1.1 304 Same\r\nX-Account: alice\r\n%b\r\n%b\r\n\r\n" % (FRESH, TAG)
        asked = get(b"/", *alice)
        _, mine = await self.exchange(client, self.source, asked, same)
        self.assertEqual((mine.status, mine.get(b"x-account")), (200, b"alice"))
        self.assertEqual((await self.hit(client)).all(b"x-account"), [])
        client.send(get(b"/", *alice, method=b"HEAD"))
        await self.source.request()
        self.source.reply(ok(b"x", FRESH, TAG, b"X-Account: alice")[:-1])
        self.assertEqual((await client.response(b"HEAD")).get(b"x-account"), b"alice")
        self.assertEqual((await self.hit(client)).all(b"x-account"), [])

    async def test_sticky_cookies_are_of_the_proxy_and_of_one_client(self):
        client = await self.cached(pool='sticky = { cookie = "txr" }')
        other = await self.client(self.proxied)
        _, first = await self.exchange(client, self.source, GET, ok(b"x", FRESH))
        for each in (client, other):
            self.assertEqual((await self.hit(each)).all(b"set-cookie"), [])
        self.assertEqual(first.all(b"set-cookie"), [])  # another cache may stand before this one
        _, own = await self.exchange(client, self.source, get(b"/own"), ok(b"x"))
        self.assertTrue(own.get(b"set-cookie").startswith(b"txr="))
        _, again = await self.exchange(other, self.source, get(b"/own"), ok(b"y"))
        self.assertTrue(again.get(b"set-cookie").startswith(b"txr="))

    async def test_a_websocket(self):
        client = await self.cached()
        await self.exchange(client, self.source, get(b"/ws"), ok(b"page", FRESH))
        client.send(ASK)
        await self.source.request()
        self.source.reply(SWITCH)
        response = await client.response()
        self.assertEqual(response.status, 101)
        client.send(b"ping")
        self.assertEqual(await self.source.wire.exactly(4), b"ping")
        self.source.wire.close()
        await client.closing()

    async def test_every_backend_is_down(self):
        client = await self.cached(cache=', stale_if_error = "1h"')
        stale = b"Cache-Control: max-age=0, stale-if-error=60"
        await self.exchange(client, self.source, get(b"/kept"), ok(b"kept", stale))
        await self.source.stop()
        for wire in self.source.wires:
            wire.transport.abortConnection()
        kept = await self.ask(client, get(b"/kept"))
        self.assertEqual((kept.status, kept.body), (200, b"kept"))
        other = await self.ask(client, get(b"/other"))
        self.assertEqual(other.status, 502)
        self.assertEqual(other.get(b"cache-control"), b"no-store")
        self.assertEqual(self.status(other), b"txrproxy; fwd=uri-miss")


class ClientTests(Cached):
    async def test_pipelined_requests_of_every_outcome(self):
        client = await self.cached()
        body = os.urandom(500_000)
        await self.exchange(client, self.source, get(b"/small"), ok(b"small", FRESH, TAG))
        await self.exchange(client, self.source, get(b"/large"), ok(body, FRESH))
        await self.settled()
        client.send(
            get(b"/small")
            + get(b"/large")
            + get(b"/small", method=b"HEAD")
            + get(b"/small", b'If-None-Match: "a"')
            + get(b"/large", b"Range: bytes=70000-400000")
            + get(b"/small", b"Range: bytes=9-")
            + get(b"/none", b"Cache-Control: only-if-cached")
            + get(b"/miss")
            + get(b"/small")
        )
        self.assertEqual((await client.response()).body, b"small")
        self.assertEqual((await client.response()).body, body)
        self.assertEqual((await client.response(to=b"HEAD")).get(b"content-length"), b"5")
        self.assertEqual((await client.response()).status, 304)
        self.assertEqual((await client.response()).body, body[70_000:400_001])
        self.assertEqual((await client.response()).status, 416)
        self.assertEqual((await client.response()).status, 504)
        self.assertEqual((await self.source.request()).target, b"/miss")
        self.source.reply(ok(b"miss", FRESH))
        self.assertEqual((await client.response()).body, b"miss")
        self.assertEqual((await client.response()).body, b"small")

    async def test_two_for_the_same_in_a_pipeline(self):
        client = await self.cached()
        client.send(GET * 3)
        await self.source.request()
        self.source.reply(ok(b"once", FRESH))
        for _ in range(3):
            self.assertEqual((await client.response()).body, b"once")
        self.assertFalse(self.source.wire.received)

    async def test_an_old_client(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"body", FRESH))
        old = await self.client(self.proxied)
        old.send(get(version=b"1.0"))
        self.assertTrue((await old.everything()).endswith(b"\r\n\r\nbody"))

    async def test_an_old_client_waits_for_what_has_no_length(self):
        client = await self.cached()
        old = await self.client(self.proxied)
        client.send(GET)
        await self.source.request()
        old.send(get(version=b"1.0"))
        await self.turns()
        self.source.reply(b"HTTP/1.1 200 OK\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n" % FRESH)
        await client.head()
        self.source.reply(b"2\r\nhi\r\n0\r\n\r\n")
        told = await old.everything()
        self.assertNotIn(b"chunked", told)
        self.assertTrue(told.endswith(b"\r\n\r\nhi"))

    async def test_if_range(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"0123456789", FRESH, TAG))
        part = [b"Range: bytes=1-2"]
        for condition, status in ((b'"a"', 206), (b'"b"', 200), (b'W/"a"', 200)):
            response = await self.hit(client, get(b"/", *part, b"If-Range: " + condition))
            self.assertEqual(response.status, status)

    async def test_several_ranges(self):
        client = await self.cached()
        body = bytes(range(256)) * 4
        await self.exchange(client, self.source, GET, ok(body, FRESH, b"Content-Type: x/y"))
        response = await self.hit(client, get(b"/", b"Range: bytes=0-9, 500-509, -10"))
        kind, _, boundary = response.get(b"content-type").partition(b"; boundary=")
        self.assertEqual((response.status, kind), (206, b"multipart/byteranges"))
        parts = response.body.split(b"\r\n--" + boundary)
        self.assertEqual(parts[-1], b"--\r\n")
        found = [part.partition(b"\r\n\r\n")[2] for part in parts[1:-1]]
        self.assertEqual(found, [body[:10], body[500:510], body[-10:]])

    async def test_a_range_of_what_is_not_stored(self):
        client = await self.cached()
        reply = b"HTTP/1.1 206 Partial Content\r\n%b\r\nContent-Range: bytes 0-0/2\r\n"
        reply = reply % FRESH + b"Content-Length: 1\r\n\r\nx"
        for _ in range(2):
            asked = get(b"/", b"Range: bytes=0-0")
            seen, response = await self.exchange(client, self.source, asked, reply)
            self.assertEqual((seen.get(b"range"), response.status), (b"bytes=0-0", 206))

    async def test_a_precondition_that_only_the_origin_can_judge(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"x", FRESH, TAG))
        failed = b"HTTP/1.1 412 No\r\nContent-Length: 0\r\n\r\n"
        asked = get(b"/", b'If-Match: "b"')
        _, response = await self.exchange(client, self.source, asked, failed)
        self.assertEqual(response.status, 412)
        self.assertEqual((await self.hit(client)).body, b"x")

    async def test_unsafe_methods_invalidate_what_they_name(self):
        client = await self.cached()
        for target in (b"/", b"/list", b"/item", b"/else"):
            await self.exchange(client, self.source, get(target), ok(b"x", FRESH))
        reply = ok(
            b"", b"Location: /list", b"Content-Location: http://a.example/item", b"Link: </else>"
        )
        await self.exchange(client, self.source, POST, reply)
        for target in (b"/", b"/list", b"/item"):
            await self.exchange(client, self.source, get(target), ok(b"y", FRESH))
        await self.hit(client, get(b"/else"))

    async def test_failed_unsafe_methods_and_other_origins_invalidate_nothing(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"x", FRESH))
        failed = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
        await self.exchange(client, self.source, POST, failed)
        elsewhere = POST.replace(b" / ", b" /x ")
        named = ok(b"", b"Location: http://b.example/", b"Content-Location: https://a.example/")
        await self.exchange(client, self.source, elsewhere, named)
        self.assertEqual((await self.hit(client)).body, b"x")


class SecureTests(Cached, SecureScenario):
    async def test_over_tls(self):
        await self.cached(memory="1KiB", listener=self.tls(), policy='security_headers = "basic"')
        client = await self.secure(self.proxied)
        body = os.urandom(700_000)
        await self.exchange(client, self.source, get(b"/large"), ok(body, FRESH))
        await self.exchange(client, self.source, GET, ok(b"small", FRESH))
        await self.settled()
        client.send(get(b"/large") + GET + get(b"/large", b"Range: bytes=1-300000"))
        for expected in (body, b"small", body[1:300_001]):
            response = await client.response()
            self.assertEqual(response.body, expected)
            self.assertIn(b"max-age", response.get(b"strict-transport-security"))
        self.assertEqual(len(self.source.wires), 1)

    async def test_a_certificate_counts_as_credentials(self):
        ca = self.folder / "clients.pem"
        ca.write_bytes(CLIENTS.pem)
        asks = f'client_auth = "optional", client_ca = "{ca}"'
        await self.cached(listener=self.tls(more=asks))
        alice = await self.secure(self.proxied, context=trusting(certificate=ALICE))
        bob = await self.secure(self.proxied, context=trusting(certificate=BOB))
        anyone = await self.secure(self.proxied)
        public = FRESH + b", public"
        for client in (alice, bob, anyone):
            await self.exchange(client, self.source, get(b"/silent"), ok(b"x", FRESH))
        await self.hit(anyone, get(b"/silent"))
        await self.hit(alice, get(b"/silent"))  # what is public is for her, too
        await self.exchange(alice, self.source, get(b"/public"), ok(b"x", public))
        await self.hit(bob, get(b"/public"))
        for name in (b"Client-Cert", b"X-Client-Cert-Subject"):
            for client in (alice, bob, anyone):
                asked = get(b"/" + name)
                reply = ok(b"x", public, b"Vary: " + name)
                await self.exchange(client, self.source, asked, reply)


class ConfiguredTests(Cached):
    async def test_default_ttl_is_not_against_what_the_origin_says(self):
        client = await self.cached(cache=', default_ttl = "60s"')
        await self.exchange(client, self.source, get(b"/silent"), ok(b"x"))
        await self.hit(client, get(b"/silent"))
        for said in (b"no-store", b"private", b"max-age=0", b"no-cache"):
            asked = get(b"/" + said)
            for _ in range(2):
                reply = ok(b"x", b"Cache-Control: " + said)
                await self.exchange(client, self.source, asked, reply)

    async def test_a_cookie_that_the_origin_sets_is_not_for_others(self):
        client = await self.cached(cache=', default_ttl = "60s"')
        for more in ((), (), (FRESH,), (FRESH,)):
            _, response = await self.exchange(
                client, self.source, GET, ok(b"x", b"Set-Cookie: session=1", *more)
            )
            self.assertEqual(response.get(b"set-cookie"), b"session=1")

    async def test_the_key_is_shown(self):
        client = await self.cached(cache=", show_key = true")
        await self.exchange(client, self.source, GET, ok(b"x", FRESH))
        self.assertIn(b"http://a.example/", self.status(await self.hit(client)))
