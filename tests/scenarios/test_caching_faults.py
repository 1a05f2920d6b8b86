"""A cached route when something goes wrong: backends that fail, clients that leave, odd answers."""

import errno
import os

from twisted.logger import formatEvent, globalLogPublisher

from tests.scenarios.harness import GET, ok
from tests.scenarios.test_caching import FRESH, Cached
from txrproxy.cache.purge import Purge

STALE = b"Cache-Control: max-age=0"
STALE_IF_ERROR = STALE + b", stale-if-error=60"
TAG = b'ETag: "a"'
BAD_304 = b'HTTP/1.1 304 Not Modified\r\nETag: "other"\r\n\r\n'
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"


class DamagedTests(Cached):
    """A body that stays in its file is checked a block at a time, the first before the head goes
    out: what has been damaged is a miss."""

    BODY = os.urandom(300_000)

    def damage(self):
        """Flip a bit in the middle of every file."""
        flipped = 0
        for path in (self.folder / "c" / "objects").rglob("*"):
            if path.is_file():
                with path.open("r+b") as file:
                    file.seek(path.stat().st_size // 2)
                    byte = file.read(1)[0]
                    file.seek(-1, os.SEEK_CUR)
                    file.write(bytes([byte ^ 1]))
                flipped += 1
        self.assertEqual(flipped, 1)

    async def kept(self, client, *lines, request=GET, reply=None):
        await self.exchange(client, self.source, request, reply or ok(self.BODY, *lines))
        await self.settled()
        writer = self.store.writer
        await self.until(
            lambda: not (writer._open or writer._finishing or writer.queued), "it to be written"
        )
        self.damage()

    async def test_it_is_a_miss(self):
        client = await self.cached()
        for number in range(3):
            await self.kept(client, FRESH)
            for more in (b"", b"Range: bytes=200000-200009\r\n")[: 1 + number]:
                request = GET[:-2] + more + b"\r\n"
                new = b"new %d" % number
                _, response = await self.exchange(client, self.source, request, ok(new, FRESH))
                self.assertEqual((response.status, response.body), (200, new))
                self.assertIn(b"fwd=uri-miss", self.status(response))
                await self.settled()
                self.store.purge(Purge("all", b""), lambda *_: None)

    async def test_of_those_who_ask_at_once_one_asks_the_origin(self):
        client = await self.cached()
        await self.kept(client, FRESH)
        clients = [client, *[await self.client(self.proxied) for _ in range(9)]]
        for each in clients:
            each.send(GET)
        await self.source.request()
        await self.turns()
        self.source.reply(ok(b"new", FRESH))
        for each in clients:
            self.assertEqual((await each.response()).body, b"new")
        self.assertEqual(len(self.source.wires), 1)

    async def test_after_a_304_the_whole_is_asked_for(self):
        client = await self.cached()
        await self.kept(client, STALE, TAG)
        client.send(GET)
        self.assertEqual((await self.source.request()).get(b"if-none-match"), b'"a"')
        self.source.reply(b"HTTP/1.1 304 Not Modified\r\n%b\r\n\r\n" % TAG)
        self.assertEqual((await self.source.request()).get(b"if-none-match"), None)
        self.source.reply(ok(b"new", FRESH, TAG))
        self.assertEqual((await client.response()).body, b"new")

    async def test_it_stands_in_for_no_error(self):
        client = await self.cached()
        await self.kept(client, STALE_IF_ERROR, TAG)
        client.send(GET)
        for condition in (b'"a"', None):
            self.assertEqual((await self.source.request()).get(b"if-none-match"), condition)
            self.source.reply(BUSY)
        response = await client.response()
        self.assertEqual((response.status, response.body), (503, b"busy"))

    async def test_a_part(self):
        client = await self.cached()
        request = GET[:-2] + b"Range: bytes=0-199999\r\n\r\n"
        head = b"HTTP/1.1 206 Partial Content\r\n%b\r\n%b\r\nContent-Length: 200000\r\n"
        reply = head % (FRESH, TAG) + b"Content-Range: bytes 0-199999/300000\r\n\r\n"
        await self.kept(client, request=request, reply=reply + self.BODY[:200_000])
        seen, response = await self.exchange(
            client, self.source, request, reply + self.BODY[:200_000]
        )
        self.assertEqual(seen.get(b"if-none-match"), None)
        self.assertEqual((response.status, response.body), (206, self.BODY[:200_000]))

    async def checking(self):
        """A client whose response is being checked, and what lets that go on."""
        submit, held = self.store.threads.submit, []
        self.store.threads.submit = lambda *job: held.append(job)
        other = await self.client(self.proxied)
        other.send(GET)
        await self.until(lambda: held, "a check")
        self.store.threads.submit = submit
        return other, lambda: [submit(*job) for job in held]

    async def test_who_notices_late_gets_what_came_since(self):
        client = await self.cached()
        await self.kept(client, FRESH)
        other, go_on = await self.checking()
        new = self.BODY[::-1]
        _, response = await self.exchange(client, self.source, GET, ok(new, FRESH))
        self.assertEqual(response.body, new)
        await self.settled()
        go_on()
        self.assertEqual((await other.response()).body, new)
        self.assertEqual((await self.hit(client)).body, new)

    async def test_whose_client_has_left(self):
        client = await self.cached()
        await self.kept(client, FRESH)
        other, go_on = await self.checking()
        other.reset()
        await self.until(lambda: self.proxied.log.records[1:], "the end of it")
        go_on()
        _, response = await self.exchange(client, self.source, GET, ok(b"new", FRESH))
        self.assertEqual(response.body, b"new")


class StaleTests(Cached):
    async def many(self, client, count):
        """Clients who ask for the same; the request that came to the origin is still there."""
        clients = [client, *[await self.client(self.proxied) for _ in range(count - 1)]]
        for each in clients:
            each.send(GET)
        await self.source.request()
        await self.turns()
        return clients

    async def test_all_who_wait_get_it(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"old", STALE_IF_ERROR, TAG))
        clients = await self.many(client, 10)
        self.source.reply(BUSY)
        for each in clients:
            response = await each.response()
            self.assertEqual((response.status, response.body), (200, b"old"))
            self.assertIn(b"fwd-status=503", self.status(response))
        self.assertEqual(len(self.source.wires), 1)

    async def test_a_304_of_something_else_and_then_a_failure(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"old", STALE_IF_ERROR, TAG))
        for failure in (BUSY, b"nonsense\r\n\r\n"):
            client.send(GET)
            await self.source.request()
            self.source.reply(BAD_304)
            again = await self.source.request()
            self.assertEqual(again.get(b"if-none-match"), None)
            self.source.reply(failure)
            self.assertEqual((await client.response()).body, b"old")

    async def test_a_304_of_something_else_and_then_the_whole(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"old", STALE, TAG))
        client.send(GET)
        await self.source.request()
        self.source.reply(BAD_304)
        await self.source.request()
        self.source.reply(ok(b"new", FRESH, b'ETag: "other"'))
        self.assertEqual((await client.response()).body, b"new")
        self.assertEqual((await self.hit(client)).body, b"new")

    async def test_not_where_it_must_be_revalidated(self):
        client = await self.cached(cache=', stale_if_error = "1h"')
        must = STALE + b", must-revalidate, stale-if-error=60"
        await self.exchange(client, self.source, GET, ok(b"old", must, TAG))
        _, response = await self.exchange(client, self.source, GET, BUSY)
        self.assertEqual(response.status, 503)

    async def test_a_head_begins_a_renewal_of_the_whole(self):
        client = await self.cached()
        stale = STALE + b", stale-while-revalidate=60"
        await self.exchange(client, self.source, GET, ok(b"old", stale, TAG))
        client.send(GET.replace(b"GET", b"HEAD"))
        response = await client.response(to=b"HEAD")
        self.assertEqual((response.status, response.get(b"content-length")), (200, b"3"))
        seen = await self.source.request()
        self.assertEqual((seen.method, seen.get(b"if-none-match")), (b"GET", b'"a"'))
        self.source.reply(ok(b"newer", FRESH))
        await self.settled()
        self.assertEqual((await self.hit(client)).body, b"newer")

    async def test_a_head_of_an_origin_that_fails(self):
        """RFC 5861 section 4 makes no difference between methods."""
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"old", STALE_IF_ERROR, TAG))
        head = GET.replace(b"GET", b"HEAD")
        no_body = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\n"
        for failure in (no_body, b"nonsense\r\n\r\n"):
            client.send(head)
            seen = await self.source.request()
            self.assertEqual((seen.method, seen.get(b"if-none-match")), (b"HEAD", None))
            self.source.reply(failure)
            response = await client.response(to=b"HEAD")
            self.assertEqual((response.status, response.get(b"content-length")), (200, b"3"))
            self.assertIn(b"detail=stale-if-error", self.status(response))
        client.send(head[:-2] + b"Cache-Control: no-cache\r\n\r\n")
        await self.source.request()
        self.source.reply(no_body)
        self.assertEqual((await client.response(to=b"HEAD")).status, 503)
        notes = [record.notes.get(b"cache") for record in self.proxied.log.records]
        self.assertEqual(notes, [b"miss", b"stale", b"stale", b"miss"])

    async def test_a_head_whose_client_leaves(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"old", STALE_IF_ERROR, TAG))
        other = await self.client(self.proxied)
        other.send(GET.replace(b"GET", b"HEAD"))
        await self.source.request()
        other.reset()
        await self.until(lambda: self.source.wire.over, "the origin to be let go")
        _, response = await self.exchange(client, self.source, GET, ok(b"new", FRESH))
        self.assertEqual(response.body, b"new")

    async def test_a_renewal_that_fails_leaves_it(self):
        client = await self.cached()
        stale = STALE + b", stale-while-revalidate=60"
        await self.exchange(client, self.source, GET, ok(b"old", stale, TAG))
        for _ in range(3):
            client.send(GET)
            self.assertEqual((await client.response()).body, b"old")
            await self.source.request()
            self.source.reply(BUSY)
            await self.settled()


class RefreshTests(Cached):
    async def test_a_cookie_that_comes_with_a_304_is_for_one(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"body", STALE, TAG))
        answer = b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n%b\r\nSet-Cookie: session=1\r\n\r\n'
        client.send(GET)
        await self.source.request()
        self.source.reply(answer % FRESH)
        response = await client.response()
        self.assertEqual((response.body, response.get(b"set-cookie")), (b"body", b"session=1"))
        other = await self.client(self.proxied)
        for each in (client, other):
            response = await self.hit(each)
            self.assertEqual((response.body, response.get(b"set-cookie")), (b"body", None))

    async def test_a_304_that_forbids_to_keep_it(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"body", STALE, TAG))
        client.send(GET)
        await self.source.request()
        self.source.reply(b'HTTP/1.1 304 No\r\nETag: "a"\r\nCache-Control: private\r\n\r\n')
        self.assertEqual((await client.response()).body, b"body")
        seen, _ = await self.exchange(client, self.source, GET, ok(b"next", FRESH))
        self.assertEqual(seen.get(b"if-none-match"), None)

    async def test_a_head_with_another_length_invalidates(self):
        client = await self.cached()
        fresh = b"Cache-Control: max-age=0, stale-if-error=60"
        await self.exchange(client, self.source, GET, ok(b"body", fresh))
        head = GET.replace(b"GET", b"HEAD")
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
        await self.exchange(client, self.source, head, answer)
        _, response = await self.exchange(client, self.source, GET, BUSY)
        self.assertEqual(response.status, 503)


class LeavingTests(Cached):
    async def test_a_waiter_that_leaves(self):
        client = await self.cached()
        second = await self.client(self.proxied)
        client.send(GET)
        await self.source.request()
        second.send(GET)
        await self.turns()
        second.reset()
        await self.until(lambda: self.proxied.log.records, "the waiter to leave")
        self.source.reply(ok(b"body", FRESH))
        self.assertEqual((await client.response()).body, b"body")
        self.assertEqual((await self.hit(client)).body, b"body")

    async def test_all_leave_in_the_middle_and_the_fill_goes_on(self):
        client = await self.cached()
        second = await self.client(self.proxied)
        body = os.urandom(300_000)
        client.send(GET)
        await self.source.request()
        second.send(GET)
        await self.turns()
        whole = ok(body, FRESH)
        self.source.reply(whole[:200_000])
        for each in (client, second):
            await each.head()
            each.reset()
        await self.until(lambda: len(self.proxied.log.records) == 2, "both to leave")
        self.source.reply(whole[200_000:])
        await self.settled()
        third = await self.client(self.proxied)
        self.assertEqual((await self.hit(third)).body, body)

    async def test_all_leave_what_is_too_large_to_be_stored(self):
        client = await self.cached(store='max_object = "64KiB"')
        client.send(GET)
        await self.source.request()
        self.source.reply(b"HTTP/1.1 200 OK\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n" % FRESH)
        piece = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        for _ in range(4):
            self.source.reply(piece)
        await client.head()
        client.reset()
        await self.until(lambda: self.proxied.log.records, "the client to leave")
        self.source.reply(piece)
        await self.source.wire.ended()

    async def test_a_slow_reader_of_what_is_too_large_holds_the_origin_back(self):
        client = await self.cached(store='max_object = "64KiB"')
        client.stop_reading()
        client.send(GET)
        await self.source.request()
        self.source.reply(b"HTTP/1.1 200 OK\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n" % FRESH)
        piece = os.urandom(0x40000)
        for _ in range(64):
            self.source.reply(b"40000\r\n%b\r\n" % piece)
        self.source.reply(b"0\r\n\r\n")
        wire = self.source.wire
        await self.until(lambda: wire.blocked, "the origin to be held back")
        await self.turns()
        client.read_again()
        response = await client.response()
        self.assertEqual(response.body, piece * 64)
        self.assertEqual((await self.exchange(client, self.source))[1].status, 200)

    async def test_a_slow_reader_of_what_is_on_disk(self):
        client = await self.cached(memory="1KiB")
        body = os.urandom(12_000_000)
        await self.exchange(client, self.source, GET, ok(body, FRESH))
        await self.settled()
        slow = await self.client(self.proxied, receive_buffer=65536)
        slow.stop_reading()
        slow.send(GET + GET)
        await self.turns()
        self.assertEqual((await self.hit(client)).body, body)
        slow.read_again()
        for _ in range(2):
            self.assertEqual((await slow.response()).body, body)

    async def test_a_reader_of_what_is_on_disk_leaves(self):
        client = await self.cached(memory="1KiB")
        await self.exchange(client, self.source, GET, ok(os.urandom(12_000_000), FRESH))
        await self.settled()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            slow = await self.client(self.proxied, receive_buffer=65536)
            slow.send(GET)
            await slow.head()
            slow.reset()
        await self.until(lambda: len(os.listdir("/proc/self/fd")) <= before, "the files to close")


class FullTests(Cached):
    async def broken(self, client, error):
        """Nothing can be written any more; requests go on, and the log has one line."""
        said = []

        def observe(event):
            if event.get("log_namespace", "").startswith("txrproxy.cache"):
                said.append(formatEvent(event))

        def fail(*_):
            raise error

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.patch(self.store.folder, "temporary", fail)
        for number in range(5):
            for body in (b"%d" % number, bytes([number]) * 700_000):
                asked = GET.replace(b" / ", b" /new/%d/%d/%d " % (error.errno, number, len(body)))
                _, response = await self.exchange(client, self.source, asked, ok(body, FRESH))
                self.assertEqual((response.status, response.body), (200, body))
                await self.until(lambda: not self.store.writer.queued, "the thread")
        self.assertFalse(self.store.writer.storing)
        (line,) = [line for line in said if "index" not in line and "bytes are there" not in line]
        self.assertIn("nothing is stored for now, responses pass by: ", line)
        self.assertIn(error.strerror, line)

    async def test_a_full_disk_and_a_folder_that_is_read_only(self):
        client = await self.cached()
        for number, text in ((errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only")):
            kept = GET.replace(b" / ", b" /%d " % number)
            await self.exchange(client, self.source, kept, ok(b"kept", FRESH))
            await self.until(lambda: not self.store.writer.queued, "the thread")
            await self.broken(client, OSError(number, text))
            # What is there is served, and it is tried again.
            self.assertEqual((await self.hit(client, kept)).body, b"kept")
            del self.store.folder.temporary
            self.store.writer._off_until = None
            again = GET.replace(b" / ", b" /again/%d " % number)
            _, response = await self.exchange(client, self.source, again, ok(b"x", FRESH))
            self.assertIn(b"stored", self.status(response))
            await self.until(lambda: not self.store.writer.queued, "the thread")
            self.assertEqual((await self.hit(client, again)).body, b"x")

    async def test_a_folder_that_can_not_be_made(self):
        (self.folder / "c").write_text("a file")
        client = await self.cached(opens=False)
        for _ in range(2):
            _, response = await self.exchange(client, self.source, GET, ok(b"x", FRESH))
            self.assertEqual(self.status(response), b"txrproxy; fwd=uri-miss")
        removed = GET.replace(b"GET", b"DELETE")
        _, response = await self.exchange(client, self.source, removed, ok(b""))
        self.assertEqual(response.status, 200)

    async def test_a_disk_that_is_too_slow(self):
        """Nothing is stored, and all who read along get it all the same, each at its own pace."""
        client = await self.cached()
        self.store.writer._queue = 500_000
        slow = await self.client(self.proxied, receive_buffer=65536)
        slow.stop_reading()
        client.send(GET)
        await self.source.request()
        slow.send(GET)
        await self.turns()
        body = os.urandom(16_000_000)
        self.source.reply(ok(body, FRESH))
        await client.head()
        await self.turns()
        slow.read_again()
        self.assertEqual((await slow.response()).body, body)
        await client.exactly(len(body))
        self.assertEqual(len(self.source.wires), 1)
        await self.exchange(client, self.source, GET, ok(b"next"))


class OriginTests(Cached):
    """Responses of every framing."""

    async def test_until_close(self):
        client = await self.cached()
        for version in (b"1.0", b"1.1"):
            target = GET.replace(b" / ", b" /%b " % version)
            client.send(target)
            await self.source.request()
            self.source.reply(b"HTTP/%b 200 OK\r\n%b\r\n\r\nsome" % (version, FRESH))
            await client.head()
            self.source.reply(b" more")
            self.source.wire.close()
            await self.until(lambda: client.received.endswith(b"0\r\n\r\n"), "the end")
            client.received.clear()
            response = await self.hit(client, target)
            self.assertEqual(response.body, b"some more")
            self.assertEqual(response.get(b"content-length"), b"9")

    async def test_until_close_and_reset(self):
        client = await self.cached()
        client.send(GET)
        await self.source.request()
        self.source.reply(b"HTTP/1.1 200 OK\r\n%b\r\n\r\nsome" % FRESH)
        await client.head()
        self.source.wire.reset()
        await client.ended()
        again = await self.client(self.proxied)
        await self.exchange(again, self.source, GET, ok(b"whole", FRESH))

    async def test_no_content_for_all(self):
        client = await self.cached()
        second = await self.client(self.proxied)
        client.send(GET)
        await self.source.request()
        second.send(GET)
        await self.turns()
        self.source.reply(b"HTTP/1.1 204 No Content\r\n%b\r\n\r\n" % FRESH)
        for each in (client, second):
            response = await each.response()
            self.assertEqual((response.status, response.all(b"transfer-encoding")), (204, []))
        for each in (client, second):
            response = await self.hit(each)
            self.assertEqual(response.status, 204)
            names = {name.lower() for name, _ in response.fields}
            self.assertFalse(names & {b"transfer-encoding", b"content-length"})

    async def test_interim_responses_come_before_what_is_stored(self):
        client = await self.cached()
        client.send(GET)
        await self.source.request()
        self.source.reply(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        self.assertEqual((await client.response()).status, 103)
        self.source.reply(ok(b"body", FRESH))
        self.assertEqual((await client.response()).body, b"body")
        self.assertEqual((await self.hit(client)).body, b"body")

    async def test_empty(self):
        client = await self.cached()
        await self.exchange(client, self.source, GET, ok(b"", FRESH))
        response = await self.hit(client)
        self.assertEqual((response.body, response.get(b"content-length")), (b"", b"0"))

    async def test_trailers_are_not_stored(self):
        client = await self.cached()
        reply = b"HTTP/1.1 200 OK\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n" % FRESH
        reply += b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"
        await self.exchange(client, self.source, GET, reply)
        self.assertEqual((await self.hit(client)).body, b"hi")

    async def test_too_large_to_be_stored(self):
        client = await self.cached(store='max_object = "64KiB"')
        body = os.urandom(100_000)
        for _ in range(2):
            _, response = await self.exchange(client, self.source, GET, ok(body, FRESH))
            self.assertEqual(
                (response.body, self.status(response)), (body, b"txrproxy; fwd=uri-miss")
            )
