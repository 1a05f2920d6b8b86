"""Many who ask a cached route for the same at once: one request to the origin, or one each."""

from twisted.internet.defer import Deferred

from tests.scenarios.harness import GET, ok
from tests.scenarios.test_caching import FRESH, Cached
from txrproxy.cache.purge import Purge

CROWD = 1000
CREDENTIALS = GET[:-2] + b"Authorization: Basic eDp5\r\n\r\n"


class CrowdTests(Cached):
    async def crowd(self, client, count=CROWD):
        clients = [client, *[await self.client(self.proxied) for _ in range(count - 1)]]
        for each in clients:
            each.send(GET)
        return clients

    def waiting(self):
        _, flights = self.proxied.graph.caches["main"]
        return sum(len(flight._waiting) for flight in flights._flights.values())

    async def test_a_thousand_misses_make_one_request(self):
        clients = await self.crowd(await self.cached())
        await self.source.request()
        await self.until(lambda: self.waiting() == CROWD - 1, "all to wait")
        self.source.reply(ok(b"one for all", FRESH))
        for each in clients:
            self.assertEqual((await each.response()).body, b"one for all")
        self.assertEqual(len(self.source.wires), 1)
        self.assertFalse(self.source.wire.received)

    async def test_one_that_fails_lets_the_others_go_on(self):
        clients = await self.crowd(await self.cached(), 20)
        await self.source.request()
        await self.until(lambda: self.waiting() == 19, "all to wait")
        self.source.reply(b"nonsense\r\n\r\n")
        self.assertEqual((await clients[0].response()).status, 502)
        await self.source.request()
        self.source.reply(ok(b"body", FRESH))
        for each in clients[1:]:
            self.assertEqual((await each.response()).body, b"body")
        self.assertEqual(len(self.source.wires), 2)

    async def test_waiting_has_an_end(self):
        client = await self.cached(timed=True)
        second = await self.client(self.proxied)
        client.send(GET)
        first = await self.source.accept()
        await first.request()
        second.send(GET)
        await self.until(lambda: self.waiting() == 1, "the second to wait")
        self.proxied.wait(6)
        own = await self.source.accept()
        await own.request()
        own.reply(ok(b"own", FRESH))
        self.assertEqual((await second.response()).body, b"own")
        first.reply(ok(b"first", FRESH))
        self.assertEqual((await client.response()).body, b"first")

    async def test_who_comes_after_a_purge_asks_anew(self):
        client = await self.cached()
        second = await self.client(self.proxied)
        client.send(GET)
        first = await self.source.accept()
        await first.request()
        purged = Deferred()
        self.store.purge(Purge("all"), lambda result, error: purged.callback(result))
        second.send(GET)
        other = await self.source.accept()
        await other.request()
        first.reply(ok(b"old", FRESH))
        self.assertEqual((await client.response()).body, b"old")
        other.reply(ok(b"new", FRESH))
        self.assertEqual((await second.response()).body, b"new")
        await purged
        self.assertEqual((await self.hit(client)).body, b"new")

    async def test_who_comes_after_a_write_to_something_else_does_not(self):
        """Who writes much does not have everything asked for again and again."""
        client = await self.cached()
        second, writer = [await self.client(self.proxied) for _ in range(2)]
        client.send(GET)
        first = await self.source.accept()
        await first.request()
        other = None
        for _ in range(3):
            writer.send(b"POST /write HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n")
            other = other or await self.source.accept()
            self.assertEqual((await other.request()).method, b"POST")
            other.reply(ok(b"written"))
            self.assertEqual((await writer.response()).body, b"written")
        second.send(GET)
        await self.turns()
        first.reply(ok(b"new", FRESH))
        for each in (client, second):
            self.assertEqual((await each.response()).body, b"new")

    async def test_another_variant_is_asked_for(self):
        client = await self.cached()
        second = await self.client(self.proxied)
        german, english = (GET[:-2] + b"Accept-Language: %b\r\n\r\n" % x for x in (b"de", b"en"))
        client.send(german)
        await self.source.request()
        second.send(english)
        await self.until(lambda: self.waiting() == 1, "the second to wait")
        self.source.reply(ok(b"Guten Tag", FRESH, b"Vary: Accept-Language"))
        self.assertEqual((await client.response()).body, b"Guten Tag")
        self.assertEqual((await self.source.request()).get(b"accept-language"), b"en")
        self.source.reply(ok(b"Good day", FRESH, b"Vary: Accept-Language"))
        self.assertEqual((await second.response()).body, b"Good day")
        self.assertEqual((await self.hit(client, german)).body, b"Guten Tag")


class OwnTests(Cached):
    """What one client's request is like is not held against others."""

    async def test_credentials_do_not_keep_a_thing_out_of_the_cache(self):
        client = await self.cached()
        answer = ok(b"mine", FRESH)
        await self.exchange(client, self.source, CREDENTIALS, answer)
        _, response = await self.exchange(client, self.source, GET, ok(b"all", FRESH))
        self.assertEqual(self.status(response), b"txrproxy; fwd=uri-miss; stored")
        self.assertEqual((await self.hit(client)).body, b"all")

    async def test_nobody_waits_for_what_is_asked_with_credentials(self):
        client = await self.cached()
        second = await self.client(self.proxied)
        client.send(CREDENTIALS)
        first = await self.source.accept()
        await first.request()
        second.send(GET)
        other = await self.source.accept()
        await other.request()
        other.reply(ok(b"all", FRESH))
        self.assertEqual((await second.response()).body, b"all")
        first.reply(ok(b"mine", FRESH))
        self.assertEqual((await client.response()).body, b"mine")
        self.assertEqual((await self.hit(second)).body, b"all")

    async def test_a_condition_of_one(self):
        client = await self.cached()
        second = await self.client(self.proxied)
        client.send(GET[:-2] + b'If-None-Match: "a"\r\n\r\n')
        first = await self.source.accept()
        self.assertEqual((await first.request()).get(b"if-none-match"), b'"a"')
        second.send(GET)
        other = await self.source.accept()
        await other.request()
        first.reply(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n')
        self.assertEqual((await client.response()).status, 304)
        other.reply(ok(b"body", FRESH, b'ETag: "a"'))
        self.assertEqual((await second.response()).body, b"body")
        self.assertEqual((await self.hit(client)).body, b"body")

    async def test_what_was_not_storable_once_is_stored_when_it_is(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"x", b"Cache-Control: no-store"))
        await self.exchange(client, self.source, GET, ok(b"y", FRESH))
        self.assertEqual((await self.hit(client)).body, b"y")


class LeaseTests(Cached):
    """What another process stores between the look into the cache and the question who may ask."""

    async def test_it_is_known_since_when(self):
        client = await self.cached()
        seconds, looks, leases = self.proxied.site.seconds, [], []
        found = self.store.find

        def find(*asked):
            looks.append(seconds())
            copy = found(*asked)
            while seconds() == looks[-1]:
                """The clock goes on."""
            return copy

        def lease(key, looked, wait, done, url):
            leases.append(looked)
            done(None if len(leases) == 1 else 1)  # another process was done: look again

        self.patch(type(self.store), "shared", True)
        self.store.find, self.store.lease = find, lease
        await self.exchange(client, self.source, GET, ok(b"x", FRESH))
        (first, again), (looked, relooked) = looks, leases
        self.assertLessEqual(looked, first)
        self.assertLess(first, relooked)
        self.assertLessEqual(relooked, again)
