"""Collapsed forwarding: one leader, many readers, each at its own pace."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.task import Clock

from tests.cache.storing import Later, StoreTestCase, look, purge, response
from txrproxy.cache.collapse import WINDOW, Flight, Flights
from txrproxy.cache.following import Reader
from txrproxy.cache.jobs import Inline
from txrproxy.cache.owner import NoRoom
from txrproxy.cache.stored import Stored
from txrproxy.transport.deadlines import Deadlines

BODY = os.urandom(4 * WINDOW)
PIECE = 64 * 1024


class Client:
    """Takes all that there is at once, unless it is slow."""

    def __init__(self, slow: bool = False, accepting: bool = True) -> None:
        self.slow = slow
        self.accepting = accepting
        self.reader: Reader | None = None
        self.alone = 0
        self.data = b""

    def accepts(self, stored: Stored) -> bool:
        return self.accepting

    def on_shared(self, reader: Reader) -> None:
        self.reader = reader
        self.on_data()

    def on_alone(self) -> None:
        self.alone += 1

    def on_data(self) -> None:
        if not self.slow:
            self.take()

    def take(self, limit: int = 100_000) -> None:
        reader = self.reader
        assert reader is not None
        while data := reader.take(limit):
            self.data += data
        if reader.ended or reader.failed:
            reader.close()


class CollapseTests(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.threads: Any = Inline()
        self.flights = self.make()
        self.resumed = 0

    def make(self) -> Flights:
        return Flights(Deadlines(self.clock), 5.0, self.threads, self.store.mark)

    def resume(self) -> None:
        self.resumed += 1

    def share(self, flight: Flight, expected: int | None = None) -> Any:
        fill = self.store.fill(response(), expected)
        assert fill is not None
        flight.share(response(), fill, self.resume)
        return fill

    def send(self, flight: Flight, body: bytes) -> None:
        for start in range(0, len(body), PIECE):
            flight.write(body[start : start + PIECE])

    def attach(self, flight: Flight, **given: bool) -> Client:
        client = Client(**given)
        flight.attach(client, self.clock.seconds())
        return client

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))

    def test_one_for_many(self) -> None:
        self.assertIsNone(self.flights.get(b"key"))
        flight = self.flights.lead(b"key")
        self.assertIs(self.flights.get(b"key"), flight)
        clients = [self.attach(flight) for _ in range(1000)]
        self.share(flight)
        clients.append(self.attach(flight))
        self.send(flight, BODY[:100_000])
        clients.append(self.attach(flight))
        flight.end()
        for client in clients:
            self.assertEqual((client.data == BODY[:100_000], client.alone), (True, 0))
            assert client.reader is not None
            self.assertTrue(client.reader.ended)
            self.assertFalse(client.reader.failed)
        self.assertIsNone(self.flights.get(b"key"))
        self.assertEqual(look(self.store), BODY[:100_000])
        self.assertFalse(flight.wanted)
        self.clock.advance(10)
        self.assertEqual(sum(client.alone for client in clients), 0)

    def test_slow_readers(self) -> None:
        """They read back from the file, and slow nobody down."""
        before = self.descriptors()
        flight = self.flights.lead(b"key")
        fast = self.attach(flight)
        slow = self.attach(flight, slow=True)
        self.share(flight)
        self.send(flight, BODY)
        self.assertEqual((fast.data == BODY, slow.data), (True, b""))
        self.assertLessEqual(sum(map(len, flight._pieces)), WINDOW + PIECE)
        late = self.attach(flight)
        self.assertEqual(late.data, BODY)
        slow.take(1000)
        self.assertEqual(slow.data, BODY)
        slower = self.attach(flight, slow=True)
        flight.end()
        for client in (slow, slower):
            client.take()
            self.assertEqual(client.data, BODY)
        self.assertEqual(self.resumed, 0)
        self.assertEqual(self.descriptors(), before)
        self.assertEqual(look(self.store), BODY)

    def test_reading_back_takes_time(self) -> None:
        """What is not in the page cache is read by a thread."""
        self.patch(os, "RWF_NOWAIT", 0x1000)
        self.threads = Later()
        self.flights = self.make()
        before = self.descriptors()
        flight = self.flights.lead(b"key")
        self.share(flight)
        self.send(flight, BODY)
        client = self.attach(flight)
        self.assertEqual(client.data, b"")
        flight.end()
        assert client.reader is not None
        self.assertEqual(client.reader.take(10), b"")
        self.threads.run()
        self.assertEqual(client.data, BODY)
        other = self.attach(flight)
        self.assertEqual(other.alone + len(other.data), 1)  # the file was let go
        self.assertEqual(self.descriptors(), before)

    def test_gone_while_reading_back(self) -> None:
        self.patch(os, "RWF_NOWAIT", 0x1000)
        self.threads = Later()
        self.flights = self.make()
        before = self.descriptors()
        flight = self.flights.lead(b"key")
        self.share(flight)
        self.send(flight, BODY)
        client = self.attach(flight)
        flight.end()
        assert client.reader is not None
        client.reader.close()
        self.threads.run()
        self.assertEqual(self.descriptors(), before)

    def test_what_was_written_is_lost(self) -> None:
        flight = self.flights.lead(b"key")
        self.share(flight)
        self.send(flight, BODY)
        client = self.attach(flight, slow=True)
        os.ftruncate(flight._spool, 10)
        client.take()
        assert client.reader is not None
        self.assertTrue(client.reader.failed)
        self.assertEqual(self.attach(flight).alone, 1)
        flight.fail()

    def test_leader_fails_early(self) -> None:
        flight = self.flights.lead(b"key")
        clients = [self.attach(flight) for _ in range(3)]
        flight.fail()
        self.assertEqual([client.alone for client in clients], [1, 1, 1])
        self.assertEqual(self.attach(flight).alone, 1)
        self.assertIsNone(self.flights.get(b"key"))
        self.clock.advance(10)
        self.assertEqual([client.alone for client in clients], [1, 1, 1])

    def test_leader_fails_late(self) -> None:
        before = self.descriptors()
        for size in (1000, len(BODY)):
            flight = self.flights.lead(b"key")
            fast, slow = self.attach(flight), self.attach(flight, slow=True)
            self.share(flight)
            self.send(flight, BODY[:size])
            flight.fail()
            slow.take()
            for client in (fast, slow):
                assert client.reader is not None
                self.assertEqual(client.data, BODY[:size])
                self.assertTrue(client.reader.failed)
                self.assertFalse(client.reader.ended)
            self.assertIsNone(look(self.store))
            self.assertEqual(self.attach(flight).alone, 1)
        self.assertEqual(self.descriptors(), before)

    def test_not_to_be_shared(self) -> None:
        flight = self.flights.lead(b"key")
        client = self.attach(flight)
        flight.refuse()
        self.assertEqual(client.alone, 1)

    def test_why_there_is_nothing_to_share(self) -> None:
        flight = self.flights.lead(b"k")
        self.assertIs(flight.failure, None)
        flight.refuse(503)
        self.assertEqual(flight.failure, 503)

    def test_alone(self) -> None:
        flight = self.flights.alone(b"k")
        self.assertIs(self.flights.get(b"k"), None)
        self.share(flight, len(BODY))
        self.send(flight, BODY)
        self.assertIsNotNone(flight.end())
        self.assertEqual(len(self.flights), 0)

    def test_not_the_right_one(self) -> None:
        """Another variant than was asked for."""
        flight = self.flights.lead(b"key")
        early = self.attach(flight, accepting=False)
        self.share(flight)
        late = self.attach(flight, accepting=False)
        self.assertEqual((early.alone, late.alone), (1, 1))

    def test_lock_timeout(self) -> None:
        flight = self.flights.lead(b"key")
        client, gone = self.attach(flight), self.attach(flight)
        flight.detach(gone)
        flight.detach(gone)
        self.clock.pump([1.0] * 7)
        self.assertEqual((client.alone, gone.alone), (1, 0))
        self.share(flight)
        self.assertIsNone(client.reader)
        flight.fail()

    def test_purged_meanwhile(self) -> None:
        """Those who wait go on; who comes after a purge does not join."""
        flight = self.flights.lead(b"key")
        client = self.attach(flight)
        purge(self.store, "all")
        self.assertIsNone(self.flights.get(b"key"))
        other = self.flights.lead(b"key")
        self.assertIs(self.flights.get(b"key"), other)
        self.share(flight)
        self.send(flight, b"hello")
        flight.end()
        self.assertEqual(client.data, b"hello")
        self.assertIs(self.flights.get(b"key"), other)
        other.refuse()
        self.assertEqual(len(self.flights), 0)

    def test_store_gives_up(self) -> None:
        """Nobody loses a byte, and the origin waits for the slowest."""
        flight = self.flights.lead(b"key")
        slow, fast = self.attach(flight, slow=True), self.attach(flight)
        fill = self.share(flight)
        self.send(flight, BODY[:PIECE])
        fill.abort()
        sent = PIECE
        while flight.write(BODY[sent : sent + PIECE]):
            sent += PIECE
            self.assertLess(sent, 3 * WINDOW)
        sent += PIECE
        self.assertTrue(flight.wanted)
        self.assertEqual(self.resumed, 0)
        slow.take()
        self.assertEqual(self.resumed, 1)
        flight.write(BODY[sent:])
        self.assertIsNone(flight.end())
        slow.take()
        self.assertEqual((slow.data == BODY, fast.data == BODY), (True, True))
        self.assertEqual(self.attach(flight).alone, 1)
        self.assertIsNone(self.flights.get(b"key"))

    def test_no_room_while_more_waits_to_be_written(self) -> None:
        """What was on its way to a file that was given up is not in it."""
        thread = Later()
        self.again(owner_thread=thread)
        thread.run()
        self.flights = self.make()
        flight = self.flights.lead(b"key")
        slow = self.attach(flight, slow=True)
        self.share(flight)
        self.send(flight, BODY)

        def fail(size: int) -> None:
            raise NoRoom

        self.patch(self.store.owner, "reserve", fail)
        thread.run()
        self.assertEqual(flight._written, 0)
        flight.end()
        slow.take()
        self.assertEqual(slow.data, BODY)

    def test_whole_but_on_its_way_into_the_file(self) -> None:
        """Nobody joins to read what is no longer in memory, and not yet in the file."""
        thread = Later()
        self.again(owner_thread=thread)
        thread.run()
        self.flights = self.make()
        flight = self.flights.lead(b"key")
        self.share(flight)
        self.send(flight, BODY)
        flight.end()
        while thread.jobs:
            if self.flights.get(b"key") is not None:
                client = self.attach(flight)
                if client.reader is not None:
                    self.assertFalse(client.reader.failed)
                    self.assertEqual(client.data, BODY)
            thread.run(1)
        self.assertEqual(look(self.store), BODY)

    def test_slowest_leaves(self) -> None:
        flight = self.flights.lead(b"key")
        slow = self.attach(flight, slow=True)
        self.share(flight).abort()
        while flight.write(BODY[:PIECE]):
            pass
        assert slow.reader is not None
        slow.reader.close()
        self.assertEqual(self.resumed, 1)
        self.assertFalse(flight.wanted)
        flight.fail()

    def test_leader_follows(self) -> None:
        """The leader's own client may be slow, too."""
        flight = self.flights.lead(b"key")
        self.share(flight)
        self.send(flight, BODY[:PIECE])
        client = Client(slow=True)
        client.reader = flight.follow(client, flight.length)
        self.send(flight, BODY[PIECE:])
        flight.end()
        client.take()
        self.assertEqual(client.data, BODY[PIECE:])

    def test_length_is_wrong(self) -> None:
        flight = self.flights.lead(b"key")
        self.share(flight, 10)
        flight.write(b"hello")
        self.assertIsNone(flight.end())
        self.assertIsNone(look(self.store))

    def test_joins_until_it_is_in_its_place(self) -> None:
        thread = Later()
        self.again(owner_thread=thread)
        thread.run()
        self.flights = self.make()
        flight = self.flights.lead(b"key")
        self.share(flight)
        self.send(flight, BODY)
        told: list[object] = []
        flight.end(told.append)
        self.assertIs(self.flights.get(b"key"), flight)
        self.assertEqual(self.attach(flight).data, BODY)
        thread.run()
        self.assertEqual(len(told), 1)
        self.assertIsNone(self.flights.get(b"key"))
        self.assertEqual(look(self.store), BODY)

    def test_a_waiter_that_fails(self) -> None:
        """It is the only one."""

        class Broken(Client):
            def on_shared(self, reader: Reader) -> None:
                raise ValueError("broken")

            on_alone = on_data = on_shared  # type: ignore[assignment]

        class LaterBroken(Client):
            def on_data(self) -> None:
                if self.data:
                    raise ValueError("broken")
                self.take()

        flight = self.flights.lead(b"key")
        flight.attach(Broken(), 0.0)
        other = LaterBroken()
        flight.attach(other, 0.0)
        client = self.attach(flight)
        self.share(flight)
        flight.write(b"hello")
        flight.write(b" you")
        flight.end()
        self.assertEqual(client.data, b"hello you")
        flight = self.flights.lead(b"other")
        flight.attach(Broken(), 0.0)
        client = self.attach(flight)
        flight.refuse()
        self.assertEqual(client.alone, 1)
        self.assertGreaterEqual(len(self.flushLoggedErrors(ValueError, TypeError)), 3)
