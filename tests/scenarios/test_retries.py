"""What is tried again on another backend, and what is not; how failing backends are left out."""

import json
from collections import Counter

from tests.scenarios.harness import EMPTY_OK, GET, Refusing, Scenario, ok
from txrproxy.balance.backend import State
from txrproxy.balance.retry import FLOOR

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
PUT = b"PUT" + POST[4:]
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
RETRY = "[pools.app.retry]\n"
OUTLIER = "[pools.app.outlier]\nconsecutive_errors = 2\n"


class Two(Scenario):
    """Two backends in turn; requests begin at the first."""

    async def start(self, pool=RETRY, **parts):
        self.first, self.second = await self.origin("first"), await self.origin("second")
        self.proxied = await self.proxy(self.first, self.second, pool=pool, **parts)
        return await self.client(self.proxied)

    @property
    def tries(self):
        """The notes about tries of the last exchange, addresses as names."""
        text = self.proxied.log.records[-1].notes.get(b"tries", b"").decode()
        for origin in (self.first, self.second):
            text = text.replace(origin.address, origin.name)
        return text

    async def settle(self, client, request=GET, reply=EMPTY_OK):
        """The second backend answers."""
        seen = await self.second.request()
        self.second.reply(reply)
        return seen, await client.response(to=request.split(b" ")[0])


class RetryTests(Two):
    async def test_a_reset_goes_to_another_backend(self):
        for request in (GET, PUT):
            client = await self.start()
            client.send(request)
            await self.first.request()
            self.first.wire.transport.abortConnection()
            seen, response = await self.settle(client, request)
            self.assertEqual(seen.body, b"hello" if request is PUT else b"")
            self.assertEqual(response.status, 200)
            self.assertEqual(self.proxied.log.reasons[-1], b"ok")
            self.assertEqual(self.tries, "first reset")

    async def test_what_may_have_been_done_is_not_done_twice(self):
        client = await self.start()
        client.send(POST)
        await self.first.request()
        self.first.wire.transport.abortConnection()
        self.assertEqual((await client.response()).status, 502)
        self.assertEqual(self.second.wires, [])
        self.assertEqual(self.tries, "first reset")

    async def test_unless_it_is_allowed(self):
        client = await self.start(RETRY + "non_idempotent = true")
        client.send(POST)
        await self.first.request()
        self.first.wire.transport.abortConnection()
        seen, response = await self.settle(client, POST)
        self.assertEqual((seen.body, response.status), (b"hello", 200))

    async def test_nothing_but_connects_without_the_table(self):
        client = await self.start(pool="")
        client.send(GET)
        await self.first.request()
        self.first.wire.transport.abortConnection()
        self.assertEqual((await client.response()).status, 502)
        self.assertEqual(self.second.wires, [])

    async def test_statuses(self):
        for status in (502, 503, 504):
            client = await self.start()
            client.send(GET)
            await self.first.request()
            self.first.reply(BUSY.replace(b"503", b"%d" % status))
            _, response = await self.settle(client)
            self.assertEqual(response.status, 200)
            self.assertEqual(self.tries, f"first {status}")

    async def test_a_status_with_a_body_still_to_come(self):
        client = await self.start()
        client.send(GET)
        await self.first.request()
        self.first.reply(BUSY[:-2])
        _, response = await self.settle(client)
        self.assertEqual(response.status, 200)
        await self.first.wire.closing()

    async def test_statuses_that_are_not_retried(self):
        for pool, status in (
            (RETRY, 500),
            (RETRY + 'on = ["502"]', 503),
            (RETRY + "attempts = 0", 503),
            (RETRY + "budget = 0.0", 503),
        ):
            client = await self.start(pool)
            client.send(GET)
            await self.first.request()
            self.first.reply(BUSY.replace(b"503", b"%d" % status))
            response = await client.response()
            self.assertEqual((response.status, response.body), (status, b"busy"))

    async def test_the_last_backend_has_the_last_word(self):
        client = await self.start()
        client.send(GET)
        await self.first.request()
        self.first.reply(BUSY)
        last = BUSY.replace(b"busy", b"last")
        _, response = await self.settle(client, reply=last)
        self.assertEqual((response.status, response.body), (503, b"last"))
        self.assertEqual(self.tries, "first 503, second 503")

    async def test_no_answer_in_time(self):
        client = await self.start(timed=True)
        client.send(GET)
        await self.first.request()
        self.proxied.wait(32)
        _, response = await self.settle(client)
        self.assertEqual((response.status, self.tries), (200, "first first_byte_timeout"))

    async def test_total_bounds_all_tries(self):
        client = await self.start(RETRY + "[pools.app.timeouts]\ntotal = '40s'", timed=True)
        client.send(GET)
        await self.first.request()
        self.proxied.wait(20)
        self.first.wire.transport.abortConnection()
        await self.second.request()
        self.proxied.wait(22)
        response = await client.response()
        self.assertEqual((response.status, self.proxied.log.reasons), (504, [b"deadline"]))
        await self.second.wire.closing()

    async def test_a_body_that_is_still_arriving(self):
        """What was sent goes again, and the rest follows it; in either framing."""
        chunked = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for head, first, rest in (
            (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", b"he", b"llo"),
            (chunked, b"2\r\nhe\r\n", b"3\r\nllo\r\n0\r\n\r\n"),
        ):
            for ending in ("reset", "503"):
                client = await self.start()
                client.send(head + first)
                await self.until(lambda: self.first.wires, "a connection")
                wire = self.first.wires[0]
                await self.until(
                    lambda wire=wire: wire.received.endswith((b"he", b"he\r\n")), "some of the body"
                )
                if ending == "503":
                    wire.send(BUSY)
                else:
                    wire.transport.abortConnection()
                await self.until(lambda: self.second.wires, "another try")
                client.send(rest)
                seen, response = await self.settle(client, b"PUT /")
                self.assertEqual((seen.body, response.status), (b"hello", 200), (head, ending))
                self.assertEqual(self.tries, f"first {ending}")

    async def test_who_expects_100(self):
        client = await self.start()
        client.send(PUT.replace(b"\r\n\r\nhello", b"\r\nExpect: 100-continue\r\n\r\n"))
        await self.until(lambda: self.first.wires, "a connection")
        await self.until(lambda: self.first.wires[0].received, "the head")
        self.first.wires[0].transport.abortConnection()
        await self.until(lambda: self.second.wires and self.second.wires[0].received, "another try")
        self.second.wires[0].send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await client.head()
        client.send(b"hello")
        seen, response = await self.settle(client, b"PUT /")
        self.assertEqual((seen.body, response.status), (b"hello", 200))

    async def test_pipelined_requests_keep_their_order(self):
        client = await self.start()
        client.send(GET.replace(b"/ ", b"/1 ") + GET.replace(b"/ ", b"/2 "))
        await self.first.request()
        self.first.wire.transport.abortConnection()
        await self.second.request()
        self.second.reply(ok(b"one"))
        self.assertEqual((await client.response()).body, b"one")

    async def test_an_upgrade_goes_to_another(self):
        client = await self.start()
        client.send(GET[:-2] + b"Connection: upgrade\r\nUpgrade: echo\r\n\r\n")
        await self.first.request()
        self.first.wire.transport.abortConnection()
        await self.second.request()
        self.second.reply(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        self.assertEqual((await client.head()).status, 101)

    async def test_a_kept_connection_that_was_closed(self):
        """Sent again on a fresh one where that is safe, or allowed; the log has it."""
        for request, pool in ((PUT, ""), (POST, RETRY + "non_idempotent = true")):
            client = await self.start(pool)
            await self.exchange(client, self.first)
            await self.exchange(client, self.second)
            client.send(request)
            await self.first.request()
            self.first.wire.transport.abortConnection()
            seen = await self.first.request()
            self.first.reply(EMPTY_OK)
            response = await client.response(to=request.split(b" ")[0])
            self.assertEqual((response.status, seen.body), (200, b"hello"))
            self.assertEqual(self.tries, "first stale_connection")

    async def test_a_kept_connection_on_which_an_answer_had_begun(self):
        """It was open, then: that is a failure of the backend's like others."""
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        for begun in (b"HTTP/1.1 200 OK\r\nConte", b"HT", hints):
            client = await self.start("")
            await self.exchange(client, self.first)
            await self.exchange(client, self.second)
            client.send(GET)
            await self.first.request()
            self.first.reply(begun)
            self.first.wire.transport.loseConnection()
            if begun is hints:
                self.assertEqual((await client.response()).status, 103)
            self.assertEqual((await client.response()).status, 502)
            self.assertEqual(self.tries, "first reset")

    async def test_a_kept_connection_to_one_that_is_not_used_any_more(self):
        client = await self.start()
        await self.exchange(client, self.first)
        await self.exchange(client, self.second)
        client.send(GET)
        await self.first.request()
        pool = self.proxied.graph.pools["app"]
        pool.set_state(pool.backends[0], State.DRAIN, 0.0)
        self.first.wire.transport.abortConnection()
        _, response = await self.settle(client)
        self.assertEqual((response.status, self.tries), (200, "first stale_connection"))

    async def test_total_does_not_bound_the_body(self):
        client = await self.start(RETRY + "[pools.app.timeouts]\ntotal = '10s'", timed=True)
        client.send(GET)
        await self.first.request()
        self.first.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        await client.head()
        self.proxied.wait(20)
        self.first.reply(b"b")
        await self.until(lambda: self.proxied.log.reasons == [b"ok"], "the end")

    async def test_a_body_too_large_to_be_kept_is_sent_once(self):
        client = await self.start()
        size = 200_000
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        client.send(b"x" * size)
        await self.first.request()
        self.first.reply(BUSY)
        self.assertEqual((await client.response(to=b"PUT")).status, 503)
        self.assertEqual(self.second.wires, [])

    async def test_the_budget_holds(self):
        client = await self.start(RETRY + "on = ['503']\nbudget = 0.1")
        for origin in (self.first, self.second):
            origin.prepare = always(BUSY)
        for _ in range(30):
            client.send(GET)
            self.assertEqual((await client.response()).status, 503)
        tried = sum(len(record.notes[b"tries"].split(b",")) for record in self.proxied.log.records)
        self.assertEqual(tried, 30 + FLOOR)

    async def test_the_json_log_says_what_was_tried(self):
        from txrproxy.observe.formats import json_formatter

        client = await self.start()
        client.send(GET)
        await self.first.request()
        self.first.reply(BUSY)
        await self.settle(client)
        record = self.proxied.log.records[-1]
        values = list(vars(record).values())[:21]
        values[20] = tuple(record.notes.items())
        line = json.loads(json_formatter()([tuple(values)]))
        self.assertEqual(line["tries"], f"{self.first.address} 503")
        self.assertEqual(line["backend"], self.second.address)


class TrialTests(Two):
    async def eject(self):
        """The first backend is left out, and its time is over."""
        pool = "[pools.app.outlier]\nconsecutive_errors = 1\neject = '10s'\n" + RETRY
        client = await self.start(pool, timed=True)
        client.send(GET)
        await self.first.request()
        self.first.wire.reset()
        await self.settle(client)
        self.proxied.wait(11)
        return client

    async def test_a_post_is_not_the_trial(self):
        """If that fails the client is told so; a GET goes to another backend."""
        client = await self.eject()
        for _ in range(3):
            client.send(POST)
            seen, response = await self.settle(client, POST)
            self.assertEqual((seen.body, response.status), (b"hello", 200))
        large = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n" + bytes(70000)
        client.send(large)
        await self.settle(client, large)
        client.send(GET)
        await self.first.request()
        self.first.wire.reset()
        _, response = await self.settle(client)
        self.assertEqual((response.status, self.tries), (200, "first reset"))

    async def test_where_there_is_nothing_else(self):
        client = await self.eject()
        self.proxied.wait(10)
        client.send(POST)
        self.assertEqual((await self.first.request()).body, b"hello")
        self.first.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)
        self.assertFalse(self.proxied.backends()[0].ejected)


class SlowStartTests(Two):
    async def test_a_backend_that_is_back_gets_more_and_more(self):
        """A tenth at first, half after half the time, all of it in the end: 1/11, 1/3, 1/2."""
        pool = "slow_start = '20s'\n[pools.app.outlier]\nconsecutive_errors = 1\neject = '5s'\n"
        client = await self.start(pool + RETRY, timed=True, listener="idle_timeout = '1h'")
        client.send(GET)
        await self.first.request()
        self.first.wire.reset()
        await self.settle(client)
        for origin in (self.first, self.second):
            origin.prepare = always(EMPTY_OK)
        for wire in self.second.wires:
            wire.transport.abortConnection()
        self.proxied.wait(5)
        served = self.proxied.log.records
        for waited, share in ((0, 1 / 11), (10, 1 / 3), (10, 1 / 2), (60, 1 / 2)):
            self.proxied.wait(waited)
            if not waited:
                await self.ask(client, GET)  # the trial
            before = len(served)
            for _ in range(66):
                self.assertEqual((await self.ask(client, GET)).status, 200)
            count = Counter(record.backend for record in served[before:])
            self.assertEqual(count[self.first.address.encode()], round(66 * share), waited)


def always(reply):
    """Give each connection of an origin the same answer to every request."""

    def prepare(wire):
        received = wire.dataReceived

        def data_received(data):
            received(data)
            for _ in range(data.count(b"\r\n\r\n")):
                wire.send(reply)

        wire.dataReceived = data_received

    return prepare


class EjectionTests(Two):
    async def fail(self, client):
        """One request that the first backend gets and fails."""
        client.send(GET)
        await self.first.request()
        self.first.wire.transport.abortConnection()
        await self.settle(client)

    async def succeed(self, client, count=1):
        """Requests that the second backend answers."""
        for _ in range(count):
            client.send(GET)
            await self.settle(client)

    async def test_a_failing_backend_is_left_out_and_comes_back(self):
        client = await self.start(RETRY + OUTLIER, timed=True)
        await self.fail(client)
        await self.fail(client)
        self.assertTrue(self.proxied.backends()[0].ejected)
        await self.succeed(client, 4)
        self.proxied.wait(31)
        # One request decides; it fails, and the next time is twice as long.
        await self.fail(client)
        await self.succeed(client, 3)
        self.proxied.wait(31)
        await self.succeed(client, 3)
        self.proxied.wait(31)
        client.send(GET)
        await self.first.request()
        self.first.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)
        self.assertFalse(self.proxied.backends()[0].ejected)

    async def test_statuses_count(self):
        client = await self.start(OUTLIER, timed=True)
        for origin in (self.first, self.second, self.first, self.second, self.second):
            client.send(GET)
            await origin.request()
            origin.reply(BUSY if origin is self.first else EMPTY_OK)
            await client.response()
        self.assertTrue(self.proxied.backends()[0].ejected)

    async def test_no_first_byte_counts_a_slow_body_does_not(self):
        client = await self.start(OUTLIER, timed=True)
        backend = self.proxied.backends()[0]
        client.send(GET)
        await self.first.request()
        self.proxied.wait(32)
        self.assertEqual((await client.response()).status, 504)
        self.assertEqual(backend.errors, 1)
        await self.succeed(client)
        client.send(GET)
        await self.first.request()
        self.first.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        await client.head()
        for piece in (b"a", b"b", b"c", b"d"):
            self.proxied.wait(50)
            self.first.reply(piece)
            await self.until(lambda: not self.first.wire.transport._tempDataBuffer, "sent")
            await self.turns()
        self.assertEqual((backend.errors, backend.ejected), (0, False))

    async def test_a_total_that_is_shorter_counts(self):
        total = "[pools.app.timeouts]\ntotal = '10s'"
        client = await self.start(RETRY + OUTLIER + total, timed=True)
        backend, other = self.proxied.backends()
        client.send(GET)
        await self.first.request()
        self.proxied.wait(12)
        self.assertEqual((await client.response()).status, 504)
        self.assertEqual((backend.errors, self.tries), (1, "first deadline"))
        # Who got the request when most of the time was over is not to blame.
        client.send(GET)
        await self.second.request()
        self.proxied.wait(7)
        self.second.wire.transport.abortConnection()
        await self.first.request()
        self.proxied.wait(4)
        self.assertEqual((await client.response()).status, 504)
        self.assertEqual((backend.errors, other.errors, self.tries), (1, 1, "second reset"))

    async def test_a_client_that_is_slow_to_send_is_no_failure(self):
        total = "[pools.app.timeouts]\ntotal = '10s'"
        client = await self.start(OUTLIER + total, timed=True)
        client.send(POST[:-1])
        await self.until(lambda: self.first.wires, "a connection")
        await self.turns()
        self.proxied.wait(12)
        self.assertEqual((await client.response()).status, 504)
        self.assertEqual(self.proxied.backends()[0].errors, 0)

    async def test_bodies_that_are_cut_again_and_again(self):
        """What their heads say is no success yet."""
        client = await self.start(OUTLIER, timed=True)
        backend = self.proxied.backends()[0]
        for number in (1, 2):
            client = await self.client(self.proxied)
            client.send(GET)
            await self.first.request()
            self.first.reply(ok(b"whole")[:-2])
            await client.head()
            self.first.wire.transport.loseConnection()
            await self.proxied.log.record(2 * number - 1)
            self.assertEqual(backend.errors, number)
            if number == 1:
                await self.exchange(await self.client(self.proxied), self.second)
        self.assertTrue(backend.ejected)

    async def test_a_whole_body_is_a_success(self):
        client = await self.start(OUTLIER, timed=True)
        backend = self.proxied.backends()[0]
        backend.errors = 1
        client.send(GET)
        await self.first.request()
        self.first.reply(ok(b"whole")[:-2])
        await client.head()
        self.assertEqual(backend.errors, 1)
        self.first.reply(b"le")
        await self.proxied.log.record()
        self.assertEqual(backend.errors, 0)

    async def test_a_busy_answer_in_two_pieces_is_no_success(self):
        client = await self.start(OUTLIER, timed=True)
        client.send(GET)
        await self.first.request()
        self.first.reply(BUSY[:-2])
        await client.head()
        self.first.reply(b"sy")
        await self.proxied.log.record()
        self.assertEqual(self.proxied.backends()[0].errors, 1)

    async def test_a_cut_body_counts(self):
        client = await self.start(OUTLIER, timed=True)
        client.send(GET)
        await self.first.request()
        self.first.reply(ok(b"whole")[:-2])
        await client.head()
        self.first.wire.transport.loseConnection()
        await self.proxied.log.record()
        self.assertEqual(self.proxied.backends()[0].errors, 1)


class DrainTests(Two):
    async def test_a_drained_backend_finishes_and_gets_nothing_new(self):
        client = await self.start()
        client.send(GET)
        await self.first.request()
        pool = self.proxied.graph.pools["app"]
        backend = pool.backends[0]
        pool.set_state(backend, State.DRAIN, 0.0)
        other = await self.client(self.proxied)
        for _ in range(4):
            other.send(GET)
            await self.second.request()
            self.second.reply(EMPTY_OK)
            await other.response()
        self.first.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)
        await self.first.wire.closing()
        pool.set_state(backend, State.UP, 0.0)
        seen = Counter()
        for origin in (self.first, self.second):
            origin.prepare = always(EMPTY_OK)
        self.second.wire.transport.abortConnection()
        await self.until(lambda: not self.proxied.idle(), "the connection to be gone")
        for _ in range(4):
            other.send(GET)
            await other.response()
            seen[self.proxied.log.records[-1].backend.decode()] += 1
        self.assertEqual(seen, {self.first.address: 2, self.second.address: 2})

    async def test_all_down(self):
        client = await self.start()
        pool = self.proxied.graph.pools["app"]
        for backend in pool.backends:
            pool.set_state(backend, State.DOWN, 0.0)
        response = await self.ask(client, GET)
        self.assertEqual((response.status, response.get(b"retry-after")), (503, b"1"))


class BoundTests(Two):
    async def bounded(self, *keys):
        self.first, self.second = await self.origin("first"), await self.origin("second")
        self.proxied = await self.proxy(
            *(f'{{ url = "{o.url}", {", ".join(keys)} }}' for o in (self.first, self.second))
        )

    async def test_max_requests_goes_to_the_next_then_503(self):
        await self.bounded("max_requests = 1")
        clients = [await self.client(self.proxied) for _ in range(3)]
        for client, origin in zip(clients, (self.first, self.second), strict=False):
            client.send(GET)
            await origin.request()
        response = await self.ask(clients[2], GET)
        self.assertEqual((response.status, response.get(b"retry-after")), (503, b"1"))
        self.assertEqual(self.proxied.log.reasons, [b"queue_full"])

    async def test_nobody_waits_without_max_pending(self):
        await self.bounded("max_connections = 1", "max_pending = 0")
        clients = [await self.client(self.proxied) for _ in range(3)]
        for client, origin in zip(clients, (self.first, self.second), strict=False):
            client.send(GET)
            await origin.request()
        self.assertEqual((await self.ask(clients[2], GET)).status, 503)

    async def test_a_line_goes_elsewhere_when_its_backend_is_out(self):
        """With its body; without another backend it stays."""
        await self.bounded("max_connections = 1")
        clients = [await self.client(self.proxied) for _ in range(3)]
        for client, origin in zip(clients, (self.first, self.second), strict=False):
            client.send(GET)
            await origin.request()
        pool = self.proxied.graph.pools["app"]
        first, second = pool.backends
        pool.set_state(second, State.DRAIN, 0.0)
        clients[2].send(PUT)
        await self.until(lambda: first.waiting, "a line")
        pool.set_state(second, State.UP, 0.0)
        self.second.reply(EMPTY_OK)
        await clients[1].response()
        pool.set_state(first, State.DRAIN, 0.0)
        seen, response = await self.settle(clients[2], b"")
        self.assertEqual((seen.body, response.status, first.waiting), (b"hello", 200, 0))
        self.first.reply(EMPTY_OK)
        self.assertEqual((await clients[0].response()).status, 200)

    async def test_a_line_stays_where_there_is_nobody_else(self):
        await self.bounded("max_connections = 1")
        clients = [await self.client(self.proxied) for _ in range(2)]
        pool = self.proxied.graph.pools["app"]
        first, second = pool.backends
        pool.set_state(second, State.DOWN, 0.0)
        for client in clients:
            client.send(GET)
        await self.first.request()
        await self.until(lambda: first.waiting, "a line")
        pool.set_health(first, False, 0.0)
        await self.turns()
        self.first.reply(EMPTY_OK)
        await self.first.request()
        self.first.reply(EMPTY_OK)
        for client in clients:
            self.assertEqual((await client.response()).status, 200)

    async def test_priority(self):
        refusing = Refusing()
        self.addCleanup(refusing.close)
        first, backup = await self.origin("first"), await self.origin("backup")
        proxy = await self.proxy(first, f'{{ url = "{backup.url}", priority = 1 }}', pool=OUTLIER)
        client = await self.client(proxy)
        for _ in range(3):
            await self.exchange(client, first)
        pool = proxy.graph.pools["app"]
        pool.set_health(pool.backends[0], False, 0.0)
        await self.exchange(client, backup)
        pool.set_health(pool.backends[0], True, 0.0)
        await self.exchange(client, first)
