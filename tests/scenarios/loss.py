"""Nothing is lost, doubled or mixed up: many requests of mixed kinds through origins with faults.

Each request has a number, which is in its target; its body and the body of its response follow from
the number alone. So either end can tell whether what arrived is what belongs there. Everything is
drawn from one seed.

What must hold for each request that the client did not abort:

* it is answered exactly once: with the right body, whole; or visibly cut, if an origin cut it; or
  with an error page of the proxy, for a reason that the log names;
* a request that met no fault, and may be repeated, is answered with the right body;
* requests pipelined behind a response that was cut are not carried out;
* a request that may not be repeated is carried out at most once, whatever happened to it.
"""

import hashlib
import json
import random
from collections import Counter, defaultdict

from twisted.internet.defer import gatherResults

from tests.scenarios.harness import Scenario
from txrproxy.errors import REASONS

IDEMPOTENT = (b"GET", b"HEAD", b"PUT")

# What an origin may do with a request, and how often.
MANNERS = {
    "length": 30,
    "chunked": 20,
    "until_close": 6,
    "http_10": 3,
    "hints": 4,
    "pieces": 6,
    "close_after": 6,
    "close_unsaid": 6,
    "early": 4,
    "extra": 2,
    "twice": 2,
    # from here on the client can not get its response
    "cut_length": 2,
    "cut_chunked": 2,
    "reset_midway": 2,
    "bad_chunk": 1,
    "no_answer": 2,
    "reset": 2,
    "garbage": 2,
    "silence": 0.2,
}
FATAL = {
    "cut_length",
    "cut_chunked",
    "reset_midway",
    "bad_chunk",
    "no_answer",
    "reset",
    "garbage",
    "silence",
    "unread",
    "request cut",
}


def content(number, size, what=b"response"):
    return hashlib.shake_128(b"%b %d" % (what, number)).digest(size)


def chunks(body, rng, extension=b""):
    out = []
    while body:
        size = rng.choice((1, 7, 100, 4096, 60_000))
        piece, body = body[:size], body[size:]
        out.append(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece))
    return out


class Asked:
    """One request, as its client knows it."""

    def __init__(self, number, rng):
        self.number = number
        self.method = rng.choice((b"GET", b"GET", b"GET", b"HEAD", b"POST", b"POST", b"PUT"))
        self.size = rng.choice((0, 10, 1000, 1000, 20_000, 200_000))
        if rng.random() < 0.01:
            self.size = 2_000_000
        self.body = b""
        self.framing = "none"
        if self.method in (b"POST", b"PUT"):
            self.framing = rng.choice(("length", "chunked"))
            self.body = content(number, rng.choice((0, 3, 500, 5000, 70_000, 300_000)), b"request")
        self.target = b"/%d/%d" % (number, self.size)
        self.answers = 0
        self.outcome = ""

    def data(self, version, rng, fields=b""):
        framing = self.framing if version == b"1.1" or self.framing == "none" else "length"
        head = b"%b %b HTTP/%b\r\nHost: a.example\r\n%b" % (
            self.method,
            self.target,
            version,
            fields,
        )
        if framing == "none":
            return head + b"\r\n"
        if framing == "length":
            return head + b"Content-Length: %d\r\n\r\n" % len(self.body) + self.body
        return (
            head
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + b"".join(chunks(self.body, rng, b";x=y"))
            + b"0\r\n\r\n"
        )


class LossScenario(Scenario):
    """``lose_nothing(count, seed)`` is the whole test."""

    async def lose_nothing(self, count, seed, clients=24):
        self.rng = random.Random(seed)
        self.left = count
        self.number = 0
        self.asked = {}
        self.executed = Counter()
        self.manners = defaultdict(list)
        self.problems = []
        origins = [await self.origin(f"origin {n}") for n in range(3)]
        for origin in origins:
            origin.prepare = self.begin_serving
        backends = [f'{{ url = "{origin.url}", max_connections = 12 }}' for origin in origins]
        proxy = await self.proxy(*backends, pool='timeouts = { first_byte = "5s" }')
        await gatherResults([self.later(self.run_client(proxy)) for _ in range(clients)])
        self.check(proxy)

    # Clients.

    def ask(self):
        self.number += 1
        self.left -= 1
        asked = self.asked[self.number] = Asked(self.number, self.rng)
        return asked

    async def run_client(self, proxy):
        rng = self.rng
        while self.left > 0:
            client = await self.client(proxy)
            self._wires.remove(client)  # thousands of them: each is closed here
            kind = rng.choices(
                ("keep_alive", "pipelined", "http_10", "close", "abort", "dribble"),
                (30, 25, 10, 10, 10, 4),
            )[0]
            try:
                await getattr(self, kind)(client, rng)
            finally:
                if client.ending is None:
                    client.transport.abortConnection()

    async def keep_alive(self, client, rng):
        for _ in range(rng.randrange(1, 12)):
            if self.left <= 0 or not await self.one(client, rng):
                return

    async def one(self, client, rng, version=b"1.1", fields=b""):
        """One exchange; whether the connection can take another."""
        asked = self.ask()
        if asked.body and version == b"1.1" and rng.random() < 0.1:
            fields += b"Expect: 100-continue\r\n"
        client.send(asked.data(version, rng, fields))
        return await self.answer(client, asked)

    async def pipelined(self, client, rng):
        burst = [self.ask() for _ in range(rng.randrange(2, 9)) if self.left > 0]
        client.send(b"".join(asked.data(b"1.1", rng) for asked in burst))
        while burst:
            if not await self.answer(client, burst.pop(0)):
                break
        for asked in burst:
            asked.outcome = "left behind"

    async def http_10(self, client, rng):
        for _ in range(rng.randrange(1, 4)):
            keep = b"Connection: keep-alive\r\n" if rng.random() < 0.5 else b""
            if self.left <= 0 or not await self.one(client, rng, b"1.0", keep):
                return

    async def close(self, client, rng):
        await self.one(client, rng, fields=b"Connection: close\r\n")
        await client.closing()
        if client.received:
            self.problems.append(f"more than one answer: {client.seen()}")

    async def abort(self, client, rng):
        asked = self.ask()
        asked.outcome = "aborted"
        data = asked.data(b"1.1", rng)
        client.send(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.5 else data)
        await self.turns(rng.randrange(12))
        if rng.random() < 0.5:
            client.reset()
        else:
            client.close()

    async def dribble(self, client, rng):
        asked = self.ask()
        data = asked.data(b"1.1", rng)
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(20))
        for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
            client.send(data[start:stop])
            await self.turns(1)
        await self.answer(client, asked)

    async def answer(self, client, asked):
        """Read and judge one answer; whether the connection can take another request."""
        try:
            while (response := await client.cut_response(asked.method)).status < 200:
                pass
        except AssertionError as error:
            asked.outcome = "unanswered"
            self.problems.append(f"{asked.number} {asked.method} unanswered: {error}")
            return False
        asked.answers += 1
        asked.status = response.status
        if response.status != 200:
            if asked.method != b"HEAD" and json.loads(response.body)["status"] != response.status:
                self.problems.append(f"{asked.number}: {response}")
            asked.outcome = "error page"
        elif response.get(b"x-number") != b"%d" % asked.number:
            self.problems.append(f"{asked.number} got {response.get(b'x-number')}")
        elif asked.method == b"HEAD":
            asked.outcome = "right"
        else:
            right = content(asked.number, asked.size)
            if response.whole and response.body == right:
                asked.outcome = "right"
            elif not response.whole and right.startswith(response.body):
                asked.outcome = "cut"
            else:
                self.problems.append(f"{asked.number}: wrong body, whole={response.whole}")
        return response.whole and response.get(b"connection") != b"close" and not client.over

    # Origins.

    def begin_serving(self, wire):
        def failed(failure):
            self.problems.append(f"an origin: {failure.getErrorMessage()}")

        self.later(self.serve(wire)).addErrback(failed)

    async def serve(self, wire):
        rng = self.rng
        while True:
            await wire.until(lambda: b"\r\n\r\n" in wire.received or wire.over, "a request")
            if b"\r\n\r\n" not in wire.received:
                return
            head = await wire.head()
            _, number, size = head.target.split(b"/")
            number, size = int(number), int(size)
            asked = self.asked[number]
            if head.method != asked.method:
                self.problems.append(f"{number}: {head.method} is not {asked.method}")
            manner = rng.choices(list(MANNERS), list(MANNERS.values()))[0]
            # A byte too many is told from the answer to the next request only when it arrives with
            # what it follows: so it is sent in one segment, or not at all.
            if manner in ("extra", "twice") and size > 1000:
                manner = "length"
            if manner.startswith(("cut", "reset_m", "bad_c")) and head.method == b"HEAD":
                manner = "length"
            self.manners[number].append(manner)
            if manner != "early" or not asked.body:
                if not await self.read_body(wire, head):
                    self.manners[number].append("request cut")
                    return
                if head.body != asked.body:
                    self.problems.append(f"{number}: a wrong request body of {head.size}")
                self.executed[number] += 1
            else:
                # Closing with bytes unread resets the connection, and may take the answer along.
                self.manners[number].append("unread")
                self.executed[number] += 1
            if not await self.reply(wire, manner, head.method, number, content(number, size), rng):
                return

    async def read_body(self, wire, head):
        if head.get(b"expect"):
            wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if head.all(b"transfer-encoding"):
            await wire.body(head, "chunked")
        elif head.all(b"content-length"):
            await wire.body(head, int(head.get(b"content-length")))
        return head.whole

    async def reply(self, wire, manner, method, number, body, rng):
        """Answer in this manner; whether the connection can take another request."""
        mark = b"X-Number: %d\r\n" % number
        length = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n" % (mark, len(body))
        chunked = b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n" % mark
        sent = b"" if method == b"HEAD" else body
        half = body[: len(body) // 2]
        if manner in ("length", "early"):
            wire.send(length + b"\r\n" + sent)
            if manner == "early":
                wire.close()
                return False
        elif manner == "chunked":
            wire.send(chunked)
            if sent or method != b"HEAD":
                wire.send(b"".join(chunks(sent, rng)) + b"0\r\n\r\n")
        elif manner == "until_close":
            wire.send(b"HTTP/1.1 200 OK\r\n%b\r\n" % mark + sent)
            wire.close()
            return False
        elif manner == "http_10":
            wire.send(length.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n" + sent)
            wire.close()
            return False
        elif manner == "hints":
            wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + length + b"\r\n" + sent)
        elif manner == "pieces":
            data = length + b"\r\n" + sent
            for at in range(0, len(data), max(1, len(data) // 10)):
                wire.send(data[at : at + max(1, len(data) // 10)])
                await self.turns(1)
        elif manner == "close_after":
            wire.send(length + b"Connection: close\r\n\r\n" + sent)
            wire.close()
            return False
        elif manner == "close_unsaid":
            wire.send(length + b"\r\n" + sent)
            await self.turns(rng.randrange(4))
            wire.close()
            return False
        elif manner in ("extra", "twice"):
            more = b"extra" if manner == "extra" else length + b"\r\n" + sent
            wire.send(length + b"\r\n" + sent + more)
        elif manner in ("cut_length", "cut_chunked", "reset_midway", "bad_chunk"):
            if manner in ("cut_length", "reset_midway"):
                wire.send(
                    b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (mark, len(body) + 9)
                )
                wire.send(half)
            else:
                wire.send(chunked + b"".join(chunks(half, rng)))
            await self.turns(3)
            if manner == "reset_midway":
                wire.reset()
                return False
            if manner == "bad_chunk":
                wire.send(b"no chunk\r\n")
            wire.close()
            return False
        elif manner == "no_answer":
            wire.close()
            return False
        elif manner == "reset":
            wire.reset()
            return False
        elif manner == "garbage":
            wire.send(b"\x16\x03\x01 garbage\r\n\r\n")
            return False
        else:
            assert manner == "silence"
            await wire.ended()
            return False
        return True

    # The account.

    def check(self, proxy):
        records = defaultdict(list)
        for record in proxy.log.records:
            if record.target != b"-":
                records[int(record.target.split(b"/")[1])].append(record)
        tally = Counter()
        for number, asked in self.asked.items():
            manners = self.manners[number]
            tally[asked.outcome] += 1
            logged = records[number]
            where = f"{number} {asked.method} {asked.outcome} {manners} {logged}"
            self.assertLessEqual(len(logged), 1, where)
            if asked.method not in IDEMPOTENT:
                self.assertLessEqual(self.executed[number], 1, where)
            if asked.outcome == "left behind":
                self.assertEqual((self.executed[number], logged), (0, []), where)
                continue
            if asked.outcome == "aborted":
                continue
            self.assertEqual((asked.answers, len(logged)), (1, 1), where)
            (record,) = logged
            self.assertEqual(record.status, asked.status, where)
            reason = REASONS[record.reason.decode()]
            if asked.outcome == "right":
                self.assertEqual(reason.name, "ok", where)
            elif asked.outcome == "cut":
                self.assertIn(reason.name, ("truncated", "bad_response_body"), where)
                self.assertTrue(FATAL.intersection(manners), where)
            else:
                self.assertEqual(asked.outcome, "error page", where)
                self.assertEqual(reason.status, asked.status, where)
                if not FATAL.intersection(manners):
                    # A kept connection that was closed under a request that may not be repeated.
                    again = asked.method in IDEMPOTENT and len(asked.body) <= 64 * 1024
                    self.assertFalse(again, where)
        self.assertEqual(self.problems, [])
        self.assertGreater(tally["right"], len(self.asked) // 2, tally)
        self.tally = tally
