"""A cached route between clients and an origin: what is answered from where, byte for byte."""

import os
import shutil
import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred

from tests.scenarios.harness import GET, Scenario, ok
from txrproxy.cache.purge import Purge

FRESH = b"Cache-Control: max-age=60"


class Cached(Scenario):
    def setUp(self):
        super().setUp()
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, True)

    async def cached(
        self,
        cache="",
        pool="",
        memory="1MiB",
        store="",
        route="",
        more="",
        origins=1,
        opens=True,
        **parts,
    ):
        self.origins = [await self.origin(f"origin {n}") for n in range(origins)]
        self.source = self.origins[0]
        self.proxied = await self.proxy(
            *self.origins,
            pool=pool,
            route=f'cache = {{ store = "main"{cache} }}\n{route}',
            more=f'[caches.main]\npath = "{self.folder}/c"\nmemory = "{memory}"\n{store}\n{more}',
            **parts,
        )
        self.store, _ = self.proxied.graph.caches["main"]
        tried = []
        self.store.open(lambda: tried.append(True))
        await self.until(lambda: tried, "an answer")
        self.assertEqual(self.store.writer.storing, opens)
        return await self.client(self.proxied)

    async def hit(self, client, request=GET):
        """An answer for which the origin is not asked."""
        before = sum(len(w.received) for w in self.source.wires), len(self.source.wires)
        response = await self.ask(client, request)
        after = sum(len(w.received) for w in self.source.wires), len(self.source.wires)
        self.assertEqual(before, after)
        return response

    async def settled(self):
        """Nothing is on its way into the store any more."""
        flights = self.proxied.graph.caches["main"][1]
        await self.until(lambda: not flights._flights, "all fills to end")

    def status(self, response):
        return response.get(b"cache-status")


class HitTests(Cached):
    async def test_miss_then_hit(self):
        client = await self.cached()
        _, first = await self.exchange(client, self.source, GET, ok(b"hello", FRESH))
        self.assertEqual(
            (first.body, self.status(first)), (b"hello", b"txrproxy; fwd=uri-miss; stored")
        )
        second = await self.hit(client)
        self.assertEqual((second.status, second.body), (200, b"hello"))
        self.assertEqual(second.get(b"content-length"), b"5")
        self.assertTrue(self.status(second).startswith(b"txrproxy; hit; ttl="))
        self.assertLess(int(second.get(b"age")), 60)
        notes = [record.notes.get(b"cache") for record in self.proxied.log.records]
        self.assertEqual(notes, [b"miss", b"hit"])

    async def test_what_is_not_storable_passes(self):
        client = await self.cached()
        for _ in range(2):
            _, response = await self.exchange(
                client, self.source, GET, ok(b"x", b"Cache-Control: no-store")
            )
            self.assertEqual(self.status(response), b"txrproxy; fwd=uri-miss")

    async def test_a_chunked_response_gets_a_length(self):
        client = await self.cached()
        client.send(GET)
        await self.source.request()
        self.source.reply(
            b"HTTP/1.1 200 OK\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" % FRESH
        )
        await client.head()
        self.source.reply(b"6\r\n world\r\n0\r\n\r\n")
        await self.until(lambda: self.proxied.log.records, "the end")
        client.received = b""
        again = await self.client(self.proxied)
        response = await self.hit(again)
        self.assertEqual((response.body, response.get(b"content-length")), (b"hello world", b"11"))

    async def test_head_conditional_and_range_from_what_is_stored(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"0123456789", FRESH, b'ETag: "a"'))
        head = await self.hit(client, GET.replace(b"GET", b"HEAD"))
        self.assertEqual((head.status, head.body, head.get(b"content-length")), (200, b"", b"10"))
        asked = GET[:-2] + b'If-None-Match: "a"\r\n\r\n'
        self.assertEqual((await self.hit(client, asked)).status, 304)
        part = await self.hit(client, GET[:-2] + b"Range: bytes=2-4\r\n\r\n")
        self.assertEqual((part.status, part.body), (206, b"234"))
        self.assertEqual(part.get(b"content-range"), b"bytes 2-4/10")
        none = await self.hit(client, GET[:-2] + b"Range: bytes=99-\r\n\r\n")
        self.assertEqual(none.status, 416)

    async def test_vary(self):
        client = await self.cached()
        for language, fwd in ((b"de", b"uri-miss"), (b"en", b"vary-miss")):
            asked = GET[:-2] + b"Accept-Language: %b\r\n\r\n" % language
            _, response = await self.exchange(
                client, self.source, asked, ok(language, FRESH, b"Vary: Accept-Language")
            )
            self.assertEqual(self.status(response), b"txrproxy; fwd=%b; stored" % fwd)
        for language in (b"de", b"en"):
            asked = GET[:-2] + b"Accept-Language: %b\r\n\r\n" % language
            self.assertEqual((await self.hit(client, asked)).body, language)

    async def test_large_variants(self):
        """Those that are in files alone may be there or not."""
        client = await self.cached()
        for language, fwd in ((b"de", b"uri-miss"), (b"en", b"miss")):
            asked = GET[:-2] + b"Accept-Language: %b\r\n\r\n" % language
            reply = ok(bytes(100_000), FRESH, b"Vary: Accept-Language")
            _, response = await self.exchange(client, self.source, asked, reply)
            self.assertEqual(self.status(response), b"txrproxy; fwd=%b; stored" % fwd)
            await self.settled()

    async def test_from_disk(self):
        client = await self.cached(memory="1KiB")
        body = os.urandom(700_000)
        await self.exchange(client, self.source, GET, ok(body, FRESH))
        await self.until(lambda: any(f for _, _, f in os.walk(self.folder / "c")), "a file")
        for _ in range(3):
            response = await self.hit(client)
            self.assertEqual(response.body, body)
        part = await self.hit(client, GET[:-2] + b"Range: bytes=300000-600000, 5-6\r\n\r\n")
        self.assertIn(body[300000:600001], part.body)
        self.assertIn(body[5:7], part.body)

    async def test_from_a_disk_that_can_not_say_what_is_in_memory(self):
        client = await self.cached(memory="1KiB")
        body = os.urandom(2_500_000)
        await self.exchange(client, self.source, GET, ok(body, FRESH))
        await self.settled()
        self.store._reader.flags = 0x1000  # what no file system offers, as tmpfs RWF_NOWAIT
        for _ in range(2):
            self.assertEqual((await self.hit(client)).body, body)
        part = await self.hit(client, GET[:-2] + b"Range: bytes=1000000-1100000, 5-6\r\n\r\n")
        self.assertIn(body[1000000:1100001], part.body)
        self.assertIn(body[5:7], part.body)

    async def test_a_file_that_is_cut_while_it_is_sent(self):
        client = await self.cached(memory="1KiB")
        body = os.urandom(700_000)
        await self.exchange(client, self.source, GET, ok(body, FRESH))
        await self.settled()
        found = self.store.find

        def find(*asked):
            copy = found(*asked)
            os.truncate(f"/proc/self/fd/{copy.fd}", 300_000)
            return copy

        self.store.find = find
        client.send(GET)
        await client.closing()
        self.assertLess(len(client.received), 400_000)

    async def test_tags_are_not_for_clients_and_purge(self):
        client = await self.cached()
        _, response = await self.exchange(
            client, self.source, GET, ok(b"x", FRESH, b"Surrogate-Key: a b", b"Cache-Tag: c")
        )
        self.assertEqual(response.get(b"surrogate-key") or response.get(b"cache-tag"), None)
        await self.hit(client)
        purged = Deferred()
        self.store.purge(Purge("tag", b"b"), lambda result, error: purged.callback(result))
        await self.exchange(client, self.source, GET, ok(b"y", FRESH))
        self.assertEqual((await purged).count, 1)

    async def test_an_unsafe_method_invalidates(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"x", FRESH))
        await self.hit(client)
        post = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"
        _, response = await self.exchange(client, self.source, post, ok(b"done"))
        self.assertEqual(self.status(response), b"txrproxy; fwd=method")
        await self.exchange(client, self.source, GET, ok(b"y", FRESH))

    async def test_only_if_cached(self):
        client = await self.cached()
        response = await self.hit(client, GET[:-2] + b"Cache-Control: only-if-cached\r\n\r\n")
        self.assertEqual((response.status, self.proxied.log.reasons), (504, [b"only_if_cached"]))
        self.assertEqual(self.status(response), b"txrproxy; detail=only-if-cached")

    async def test_min_uses(self):
        client = await self.cached(cache=", min_uses = 2")
        for expected in (b"txrproxy; fwd=uri-miss", b"txrproxy; fwd=uri-miss; stored"):
            _, response = await self.exchange(client, self.source, GET, ok(b"x", FRESH))
            self.assertEqual(self.status(response), expected)
        await self.hit(client)


class ValidationTests(Cached):
    STALE = b"Cache-Control: max-age=0"

    async def test_304_keeps_it(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"body", self.STALE, b'ETag: "a"'))
        client.send(GET)
        seen = await self.source.request()
        self.assertEqual(seen.get(b"if-none-match"), b'"a"')
        self.source.reply(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n%b\r\n\r\n' % FRESH)
        response = await client.response()
        self.assertEqual((response.status, response.body), (200, b"body"))
        self.assertEqual(self.status(response), b"txrproxy; fwd=stale; fwd-status=304")
        self.assertEqual((await self.hit(client)).body, b"body")

    async def test_200_replaces_it(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"old", self.STALE, b'ETag: "a"'))
        _, response = await self.exchange(client, self.source, GET, ok(b"new", FRESH))
        self.assertEqual(self.status(response), b"txrproxy; fwd=stale; stored")
        self.assertEqual((await self.hit(client)).body, b"new")

    async def test_stale_if_error(self):
        client = await self.cached(cache=', stale_if_error = "1h"')
        await self.exchange(
            client, self.source, GET, ok(b"old", self.STALE + b", stale-if-error=60", b'ETag: "a"')
        )
        for failure in ("503", "reset", "refused"):
            client.send(GET)
            if failure == "refused":
                await self.source.stop()
                for wire in self.source.wires:
                    if not wire.over:
                        wire.transport.abortConnection()
            else:
                await self.source.request()
                if failure == "503":
                    self.source.reply(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
                else:
                    self.source.wire.transport.abortConnection()
                    await self.source.request()  # once more, for that connection was kept
                    self.source.wire.transport.abortConnection()
            response = await client.response()
            self.assertEqual((response.status, response.body), (200, b"old"), failure)
            self.assertIn(b"detail=stale-if-error", self.status(response))

    async def test_stale_while_revalidate(self):
        client = await self.cached()
        stale = self.STALE + b", stale-while-revalidate=60"
        await self.exchange(client, self.source, GET, ok(b"old", stale, b'ETag: "a"'))
        client.send(GET)
        response = await client.response()
        self.assertEqual(response.body, b"old")
        seen = await self.source.request()
        self.assertEqual(seen.get(b"if-none-match"), b'"a"')
        self.source.reply(ok(b"new", FRESH))
        await self.settled()
        self.assertEqual((await self.hit(client)).body, b"new")

    async def test_the_clients_own_condition_is_answered_here(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"body", self.STALE, b'ETag: "a"'))
        client.send(GET[:-2] + b'If-None-Match: "a"\r\n\r\n')
        await self.source.request()
        self.source.reply(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n')
        self.assertEqual((await client.response()).status, 304)


class CollapseTests(Cached):
    async def test_many_misses_one_request(self):
        client = await self.cached()
        clients = [client, *[await self.client(self.proxied) for _ in range(30)]]
        for each in clients:
            each.send(GET)
        await self.source.request()
        self.source.reply(b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: 10\r\n\r\n01234" % FRESH)
        for each in clients:
            await each.head()
        self.source.reply(b"56789")
        await self.until(lambda: len(self.proxied.log.records) == 31, "all ends")
        for each in clients:
            await self.until(lambda e=each: e.received.endswith(b"0123456789"), "the body")
        self.assertEqual(len(self.source.wires), 1)
        notes = [record.notes[b"cache"] for record in self.proxied.log.records]
        self.assertEqual(sorted(set(notes)), [b"collapsed", b"miss"])

    async def waiting(self, count):
        """So many wait for what one has asked for."""
        flights = self.proxied.graph.caches["main"][1]._flights
        await self.until(
            lambda: [len(flight._waiting) for flight in flights.values()] == [count], "all to wait"
        )

    async def reloading(self, asked):
        """One asks for the origin's own word, and ten more while that is under way."""
        first = await self.client(self.proxied)
        others = [await self.client(self.proxied) for _ in range(10)]
        first.send(asked)
        await self.source.request()
        for each in others:
            each.send(asked)
        await self.waiting(10)
        return first, others

    async def test_reloads_share_what_is_asked_after_they_came(self):
        await self.cached()
        for value in (b"no-cache", b"max-age=0"):
            asked = GET.replace(b" / ", b" /%b " % value)
            asked = asked[:-2] + b"Cache-Control: %b\r\n\r\n" % value
            first, others = await self.reloading(asked)
            self.source.reply(ok(b"old", FRESH, b"Date: Tue, 14 Nov 2023 22:13:20 GMT"))
            self.assertEqual((await first.response()).body, b"old")
            await self.source.request()
            await self.waiting(9)
            self.source.reply(ok(b"new", FRESH))
            for each in others:
                self.assertEqual((await each.response()).body, b"new")
            await self.settled()
        notes = [record.notes[b"cache"] for record in self.proxied.log.records]
        self.assertEqual((notes.count(b"miss"), notes.count(b"collapsed")), (4, 18))

    async def test_reloads_share_a_validation(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"x", FRESH, b'ETag: "a"'))
        for more in (b"", b'If-None-Match: "a"\r\n'):
            first, others = await self.reloading(
                GET[:-2] + b"Cache-Control: no-cache\r\n%b\r\n" % more
            )
            same = b'HTTP/1.1 304 Same\r\nETag: "a"\r\n%b\r\n\r\n' % FRESH
            self.source.reply(same)
            expected = 304 if more else 200
            self.assertEqual((await first.response()).status, expected)
            await self.source.request()
            await self.waiting(9)
            self.source.reply(same)
            for each in others:
                self.assertEqual((await each.response()).status, expected)
        notes = [record.notes[b"cache"] for record in self.proxied.log.records]
        self.assertEqual((notes.count(b"revalidated"), notes.count(b"hit")), (4, 18))

    async def test_a_validation_of_one_variant_is_none_of_another(self):
        client = await self.cached()
        vary, tag = b"Vary: Accept-Language", b'ETag: "a"'
        asked = {lang: GET[:-2] + b"Accept-Language: %b\r\n" % lang for lang in (b"de", b"en")}
        for lang, start in asked.items():
            await self.exchange(client, self.source, start + b"\r\n", ok(lang, FRESH, vary, tag))
        same = b"HTTP/1.1 304 Same\r\n%b\r\n%b\r\n\r\n" % (FRESH, tag)
        first, second, third = [await self.client(self.proxied) for _ in range(3)]
        reload = b"Cache-Control: no-cache\r\n\r\n"
        first.send(asked[b"de"] + reload)
        await self.source.request()
        second.send(asked[b"de"] + reload)
        await self.waiting(1)
        third.send(asked[b"en"] + reload)
        await self.waiting(2)
        for _ in range(3):
            self.source.reply(same)
            if _ < 2:
                await self.source.request()
        for each, lang in ((first, b"de"), (second, b"de"), (third, b"en")):
            self.assertEqual((await each.response()).body, lang)
        notes = [record.notes[b"cache"] for record in self.proxied.log.records]
        self.assertEqual(notes.count(b"revalidated"), 3)

    async def test_what_is_for_one_is_not_waited_for_again(self):
        client = await self.cached()
        second = await self.client(self.proxied)
        client.send(GET)
        await self.source.request()
        first = self.source.wire
        second.send(GET)
        await self.turns()
        self.assertEqual(len(self.source.wires), 1)
        first.reply(ok(b"mine", b"Cache-Control: private"))
        self.assertEqual((await client.response()).body, b"mine")
        await self.source.request()
        self.source.reply(ok(b"yours", b"Cache-Control: private"))
        self.assertEqual((await second.response()).body, b"yours")

    async def test_the_first_client_leaves_and_the_others_do_not_notice(self):
        client = await self.cached()
        second = await self.client(self.proxied)
        client.send(GET)
        await self.source.request()
        second.send(GET)
        await self.turns()
        client.transport.abortConnection()
        await self.until(lambda: self.proxied.log.records, "the first to leave")
        self.source.reply(ok(b"body", FRESH))
        self.assertEqual((await second.response()).body, b"body")
        self.assertEqual(len(self.source.wires), 1)

    async def test_nobody_is_left(self):
        client = await self.cached()
        client.send(GET)
        await self.source.request()
        client.transport.abortConnection()
        await self.source.wire.ended()

    async def test_a_body_cut_short_is_not_stored(self):
        client = await self.cached()
        second = await self.client(self.proxied)
        client.send(GET)
        await self.source.request()
        second.send(GET)
        await self.turns()
        self.source.reply(ok(b"whole body", FRESH)[:-3])
        await client.head()
        await second.head()
        self.source.wire.transport.loseConnection()
        for each in (client, second):
            await each.ended()
        self.assertEqual(self.proxied.log.reasons, [b"truncated", b"truncated"])
        third = await self.client(self.proxied)
        await self.exchange(third, self.source, GET, ok(b"whole body", FRESH))

    async def test_a_slow_reader_does_not_slow_the_others(self):
        client = await self.cached()
        slow = await self.client(self.proxied, receive_buffer=256 * 1024)
        slow.transport.pauseProducing()
        slow.send(GET)
        await self.source.request()
        client.send(GET)
        await self.turns()
        body = os.urandom(12_000_000)
        self.source.reply(ok(body, FRESH))
        response = await client.response()
        self.assertEqual(response.body, body)
        slow.transport.resumeProducing()
        response = await slow.response()
        self.assertEqual(response.body, body)
