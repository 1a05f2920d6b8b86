"""Ranges of what is not kept whole, between clients and an origin (RFC 9111 section 3.4)."""

import os

from twisted.internet.defer import Deferred

from tests.scenarios.harness import GET, ok
from tests.scenarios.test_caching import FRESH, Cached
from txrproxy.cache.policy.partial import MAX_TOTAL
from txrproxy.cache.purge import Purge

TAG = b'ETag: "a"'
SMALL = bytes(range(48, 58)) * 10
NOTHING = b"HTTP/1.1 404 No\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n"
LARGE = os.urandom(400_000)


def asking(start, end, *more):
    lines = b"\r\n".join([b"Range: bytes=%d-%d" % (start, end - 1), *more])
    return GET[:-2] + lines + b"\r\n\r\n"


def part(body, start, end, *lines, total=None):
    lines = b"\r\n".join(lines or (FRESH, TAG))
    placed = b"Content-Range: bytes %d-%d/%d" % (start, end - 1, total or len(body))
    sent = body[start:end]
    head = b"HTTP/1.1 206 Partial Content\r\n%b\r\n%b\r\nContent-Length: %d\r\n\r\n"
    return head % (lines, placed, len(sent)) + sent


class PartsTests(Cached):
    async def get(self, client, body, start, end, *lines):
        """A range that the origin is asked for."""
        reply = part(body, start, end, *lines)
        seen, response = await self.exchange(client, self.source, asking(start, end), reply)
        self.assertEqual(seen.get(b"range"), b"bytes=%d-%d" % (start, end - 1))
        self.assertEqual((response.status, response.body), (206, body[start:end]))
        await self.quiet()
        return response

    async def quiet(self):
        """What has come is kept, and joined."""
        writer = self.store.writer
        await self.until(
            lambda: not (writer._open or writer._finishing or writer.queued), "parts to be joined"
        )

    async def have(self, client, body, start, end, *more):
        """A range that the origin is not asked for."""
        response = await self.hit(client, asking(start, end, *more))
        self.assertEqual((response.status, response.body), (206, body[start:end]))
        placed = b"bytes %d-%d/%d" % (start, end - 1, len(body))
        self.assertEqual(response.get(b"content-range"), placed)
        self.assertTrue(self.status(response).startswith(b"txrproxy; hit; ttl="))

    async def lack(self, client, request=GET):
        """The origin is asked."""
        client.send(request)
        await self.source.request()
        self.source.reply(
            b"HTTP/1.1 404 No\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n"
        )
        self.assertEqual((await client.response()).status, 404)

    async def test_what_lies_within(self):
        client = await self.cached()
        response = await self.get(client, SMALL, 10, 50)
        self.assertEqual(self.status(response), b"txrproxy; fwd=uri-miss; stored")
        await self.have(client, SMALL, 10, 50)
        await self.have(client, SMALL, 20, 30)
        await self.have(client, SMALL, 20, 30, b'If-Range: "a"')
        several = await self.hit(client, GET[:-2] + b"Range: bytes=10-11, 40-41\r\n\r\n")
        self.assertEqual((several.status, several.body), (206, SMALL[10:42]))  # so close that one

    async def test_what_does_not(self):
        """Nothing is said of bytes that are not there, nor is a part ever the whole."""
        client = await self.cached()
        await self.get(client, SMALL, 10, 50)
        for request in (
            GET,
            asking(0, 11),
            asking(40, 51),
            asking(60, 70),
            asking(20, 30, b'If-Range: "b"'),
            asking(20, 30, b"Cache-Control: no-cache"),
            GET[:-2] + b"Range: bytes=-5\r\n\r\n",
            GET[:-2] + b"Range: bytes=200-\r\n\r\n",
            GET[:-2] + b"Range: lines=1-2\r\n\r\n",
            asking(20, 30, b'If-None-Match: "a"'),
        ):
            await self.lack(client, request)
        head = GET.replace(b"GET", b"HEAD")
        client.send(head)
        await self.source.request()
        self.source.reply(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual((await client.response(to=b"HEAD")).status, 404)

    async def test_joined(self):
        """In any order, touching or overlapping; what is complete is the whole response."""
        client = await self.cached()
        for body in (SMALL, LARGE):
            cuts = [len(body) * n // 10 for n in range(11)]
            spans = [(cuts[0], cuts[4]), (cuts[4], cuts[7]), (cuts[6], cuts[10])]
            for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
                for number in order:
                    await self.get(client, body, *spans[number])
                for _ in range(2):
                    await self.have(client, body, cuts[1], cuts[9])
                    response = await self.hit(client)
                    self.assertEqual((response.status, response.body), (200, body))
                    self.assertEqual(response.get(b"content-range"), None)
                    self.assertEqual(response.get(b"content-length"), b"%d" % len(body))
                    self.store.memory.clear()
                stats = []
                self.store.stats(lambda figures, error, to=stats: to.append(figures))
                await self.until(lambda to=stats: to, "figures")
                self.assertEqual(stats[0]["responses"], 1)
                purged = Deferred()
                self.store.purge(Purge("all"), lambda *_, to=purged: to.callback(None))
                await purged

    async def test_all_in_one_part(self):
        """As players ask: from the first byte on."""
        client = await self.cached()
        asked = GET[:-2] + b"Range: bytes=0-\r\n\r\n"
        await self.exchange(client, self.source, asked, part(SMALL, 0, len(SMALL)))
        await self.quiet()
        self.assertEqual((await self.hit(client)).body, SMALL)

    async def test_another_version(self):
        """What has another tag replaces the part, and is never mixed with it."""
        client = await self.cached()
        await self.get(client, SMALL, 0, 50)
        other = bytes(reversed(SMALL))
        await self.get(client, other, 50, 100, FRESH, b'ETag: "b"')
        await self.have(client, other, 50, 100)
        await self.lack(client, asking(0, 50))

    async def test_a_gap(self):
        client = await self.cached()
        await self.get(client, SMALL, 0, 20)
        await self.get(client, SMALL, 50, 70)
        await self.have(client, SMALL, 50, 70)
        await self.lack(client, asking(0, 20))

    async def test_stale(self):
        """It is asked for again; what comes makes all of it fresh."""
        client = await self.cached()
        await self.get(client, SMALL, 0, 50, b"Cache-Control: max-age=0", TAG)
        response = await self.get(client, SMALL, 20, 70)
        self.assertEqual(self.status(response), b"txrproxy; fwd=stale; stored")
        await self.have(client, SMALL, 0, 70)

    async def test_not_kept(self):
        client = await self.cached()
        for lines in (
            (b"Cache-Control: no-store", TAG),
            (FRESH,),
            (FRESH, b'ETag: W/"a"'),
            (FRESH, b"Last-Modified: Sat, 21 Nov 2020 15:44:06 GMT"),
        ):
            response = await self.get(client, SMALL, 0, 50, *lines)
            self.assertEqual(self.status(response), b"txrproxy; fwd=uri-miss")
        reply = part(SMALL, 0, 50, total=MAX_TOTAL + 1)
        _, response = await self.exchange(client, self.source, asking(0, 50), reply)
        self.assertEqual(self.status(response), b"txrproxy; fwd=uri-miss")

    async def test_cut_short(self):
        client = await self.cached()
        client.send(asking(0, 50))
        await self.source.request()
        self.source.reply(part(SMALL, 0, 50)[:-10])
        await self.until(lambda: client.received, "a part of the part")
        self.source.wire.transport.abortConnection()
        await client.ended()
        await self.quiet()
        again = await self.client(self.proxied)
        await self.lack(again, asking(0, 20))

    async def test_purged(self):
        client = await self.cached()
        await self.get(client, SMALL, 0, 50)
        await self.exchange(
            client,
            self.source,
            GET.replace(b"GET", b"DELETE"),
            b"HTTP/1.1 204 Gone\r\n\r\n",
        )
        await self.lack(client, asking(0, 20))

    async def test_variants(self):
        client = await self.cached()
        varied = (FRESH, TAG, b"Vary: Accept-Language")
        german, english = (b"Accept-Language: " + name for name in (b"de", b"en"))
        reply = part(SMALL, 0, 50, *varied)
        await self.exchange(client, self.source, asking(0, 50, german), reply)
        await self.quiet()
        await self.have(client, SMALL, 0, 50, german)
        await self.lack(client, asking(0, 50, english))
        reply = part(SMALL, 50, 100, *varied)
        await self.exchange(client, self.source, asking(50, 100, german), reply)
        await self.quiet()
        await self.have(client, SMALL, 30, 80, german)

    async def test_the_client_leaves(self):
        client = await self.cached()
        await self.get(client, SMALL, 0, 20)
        client.send(asking(20, 50))
        await self.source.request()
        client.reset()
        await self.until(lambda: self.source.wire.over, "the origin to be let go")
        other = await self.client(self.proxied)
        await self.have(other, SMALL, 0, 20)

    async def test_the_whole_comes_instead(self):
        """Who asked chose the Range: it is in no key, so that its answer is not for others."""
        client = await self.cached()
        reply = ok(SMALL, FRESH, TAG)
        _, response = await self.exchange(client, self.source, asking(0, 20), reply)
        self.assertEqual((response.status, response.body), (200, SMALL))
        await self.lack(client)
