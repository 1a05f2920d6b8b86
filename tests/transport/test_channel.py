"""Messages between processes, over both kinds of channel."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.transport import channel
from txrproxy.transport.channel import Channel, Lost, Refused, local_pair, socket_pair, wait


class Reactor(Clock):
    """Only remembers who reads and writes; :func:`pump` does it."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader = self.readers.add
        self.removeReader = self.readers.discard
        self.addWriter = self.writers.add
        self.removeWriter = self.writers.discard


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.events: list[str] = []
        ours, theirs = socket_pair()
        self.ours = Channel(self.reactor, ours, lambda: self.events.append("ours lost"))
        self.theirs = Channel(self.reactor, theirs, lambda: self.events.append("theirs lost"))
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)

    def pump(self, rounds: int = 4) -> None:
        for _ in range(rounds):
            for writer in list(self.reactor.writers):
                writer.doWrite()
            for reader in list(self.reactor.readers):
                why = reader.doRead()
                if why is not None:
                    reader.connectionLost(Failure(why))


class MessageTests(Case):
    def test_send(self) -> None:
        got: list[Any] = []
        self.theirs.register("news", got.append)
        self.ours.send("news", {"a": [1, "ü", None]})
        self.ours.send("news")
        self.pump()
        self.assertEqual(got, [{"a": [1, "ü", None]}, {}])

    def test_both_ways(self) -> None:
        got: list[Any] = []
        self.ours.register("back", got.append)
        self.theirs.send("back", {"n": 1})
        self.pump()
        self.assertEqual(got, [{"n": 1}])

    def test_large(self) -> None:
        """In pieces, and more than the kernel takes at once."""
        got: list[Any] = []
        self.theirs.register("news", got.append)
        text = "x" * 3_000_000
        self.ours.send("news", {"text": text})
        self.ours.send("news", {"text": "after"})
        self.assertIn(self.ours, self.reactor.writers)
        self.pump(100)
        self.assertEqual([len(body["text"]) for body in got], [len(text), 5])
        self.assertNotIn(self.ours, self.reactor.writers)

    def test_descriptors(self) -> None:
        got: list[Any] = []
        self.theirs.register("fds", got.append)
        read, write = os.pipe()
        self.ours.send("fds", {"n": 1}, [write])
        os.close(write)
        self.pump()
        ((fd,),) = [body["fds"] for body in got]
        os.write(fd, b"through")
        os.close(fd)
        self.assertEqual(os.read(read, 100), b"through")
        self.assertEqual(os.read(read, 100), b"")  # no copy of it stayed open
        os.close(read)

    def test_descriptors_that_nobody_takes_are_closed(self) -> None:
        read, write = os.pipe()
        self.ours.send("unknown", {}, [write])
        os.close(write)
        with capturedLogs() as events:
            self.pump()
        self.assertEqual(len(events), 1)
        self.assertEqual(os.read(read, 100), b"")
        os.close(read)


class CallTests(Case):
    def test_answers(self) -> None:
        later: Deferred[Any] = Deferred()
        answers = {"none": None, "dict": {"a": 1}, "later": later}
        for topic, answer in answers.items():
            self.theirs.register(topic, lambda _, answer=answer: answer)
        calls = [self.ours.call(topic) for topic in answers]
        self.pump()
        self.assertEqual(self.successResultOf(calls[0]), {})
        self.assertEqual(self.successResultOf(calls[1]), {"a": 1})
        self.assertNoResult(calls[2])
        later.callback({"b": 2})
        self.pump()
        self.assertEqual(self.successResultOf(calls[2]), {"b": 2})

    def test_refused(self) -> None:
        def refuse(_: Any) -> None:
            raise Refused("not today")

        self.theirs.register("a", refuse)
        calls = [self.ours.call("a"), self.ours.call("b")]
        self.pump()
        for call, why in zip(calls, ("not today", "unknown topic 'b'"), strict=True):
            self.assertEqual(str(self.failureResultOf(call, Refused).value), why)

    def test_fault(self) -> None:
        """Its text stays inside."""
        self.theirs.register("a", lambda _: 1 / 0)
        call = self.ours.call("a")
        self.pump()
        self.assertNotIn("division", str(self.failureResultOf(call, Refused).value))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_fault_that_nobody_waits_for(self) -> None:
        self.theirs.register("a", lambda _: 1 / 0)
        self.ours.send("a")
        self.pump()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_given_up(self) -> None:
        """The answer that comes too late is forgotten."""
        self.theirs.register("a", lambda _: {})
        call = self.ours.call("a")
        call.addErrback(lambda _: None)
        call.cancel()
        self.pump()
        self.assertEqual(self.events, [])


class EndTests(Case):
    def test_other_end_closed(self) -> None:
        call = self.ours.call("a")
        self.theirs.close()
        self.pump()
        self.failureResultOf(call, Lost)
        self.assertEqual(self.events, ["ours lost"])
        self.assertEqual(self.reactor.readers, set())
        self.failureResultOf(self.ours.call("a"), Lost)
        self.ours.send("a")

    def test_what_was_said_last_is_heard(self) -> None:
        self.theirs.register("a", lambda _: self.events.append("a"))
        self.ours.send("a")
        self.ours.close()
        self.pump()
        self.assertEqual(self.events, ["a", "theirs lost"])

    def test_who_reads_nothing(self) -> None:
        """What waits for it has a bound."""
        with mock.patch.object(channel, "MAX_QUEUED", 1_000_000), capturedLogs() as events:
            self.ours.send("a", {"x": "y" * 2_000_000})
        self.assertEqual((self.events, len(events)), (["ours lost"], 1))

    def test_message_without_end(self) -> None:
        with mock.patch.object(channel, "MAX_MESSAGE", 100_000), capturedLogs() as events:
            self.ours.send("a", {"x": "y" * 200_000})
            self.pump()
        self.assertIn("theirs lost", self.events)
        self.assertEqual(len(events), 1)

    def test_nonsense(self) -> None:
        for packet in (b".", b".[]", b".{", b".[1,2,3]"):
            ours, theirs = socket_pair()
            with ours, capturedLogs() as events:
                end = Channel(self.reactor, theirs)
                ours.send(packet)
                self.assertIs(end.doRead(), None)
                end.close()
            self.assertEqual(len(events), 1, packet)


class WaitTests(Case):
    def test_result(self) -> None:
        self.theirs.register("a", lambda _: {"b": 1})
        done = self.ours.call("a")
        self.assertEqual(wait([self.ours, self.theirs], done, 30), {"b": 1})

    def test_failure(self) -> None:
        done = self.ours.call("a")
        self.assertRaises(Refused, wait, [self.ours, self.theirs], done, 30)

    def test_end(self) -> None:
        done = self.ours.call("a")
        self.theirs.close()
        self.assertRaises(Lost, wait, [self.ours], done, 30)

    def test_time(self) -> None:
        done = self.ours.call("a")
        self.assertRaises(TimeoutError, wait, [self.ours], done, 0.01)

    def test_there_already(self) -> None:
        self.assertEqual(wait([], succeed(1), 0), 1)


class LocalTests(SynchronousTestCase):
    def test_pair(self) -> None:
        ours, theirs = local_pair()
        got: list[Any] = []
        theirs.register("a", got.append)
        ours.send("a", {"b": object})
        ours.send("unknown")
        self.assertEqual(got, [{"b": object}])
        self.assertEqual(self.successResultOf(ours.call("a")), {})
        self.failureResultOf(ours.call("unknown"), Refused)
        self.failureResultOf(theirs.call("unknown"), Refused)

    def test_fault(self) -> None:
        ours, theirs = local_pair()
        theirs.register("a", lambda _: 1 / 0)
        ours.send("a")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class PathTests(SynchronousTestCase):
    def test_ask_a_long_path(self) -> None:
        """Longer than an address has room for; and only its user may connect."""
        folder = os.path.join(self.mktemp(), "x" * 150)
        os.makedirs(folder)
        path = os.path.join(folder, "s")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
            channel.bind_to(server, path)
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
            server.listen()

            def serve() -> None:
                link, _ = server.accept()
                with link:
                    self.assertEqual(link.recv(1000), b'.["status",{},"?",1]')
                    link.send(b'.["status",{"up":1},"=",1]')

            thread = threading.Thread(target=serve)
            thread.start()
            self.assertEqual(channel.ask(path, "status", timeout=30), {"up": 1})
            thread.join()
