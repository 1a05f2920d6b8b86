"""The lean reactor does what the stock one does. Each test runs a reactor of its own to its end."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any, ClassVar
from unittest import mock

from twisted.application.reactors import getReactorTypes
from twisted.internet import defer, error, protocol
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txrproxy.transport import direct
from txrproxy.transport import reactor as lean

PATIENCE = 20  # seconds until a hanging test is given up


class Case(SynchronousTestCase):
    make: ClassVar[Any] = lean.LeanReactor

    def setUp(self) -> None:
        self.reactor = self.make()
        self.addCleanup(self.close)

    def close(self) -> None:
        self.reactor.disconnectAll()
        for reader in list(self.reactor._internalReaders):
            self.reactor._removeInternalReader(reader)
            reader.connectionLost(None)
        self.reactor._poller.close()

    def run_reactor(self) -> None:
        """Run until something calls ``stop``."""
        hung: list[bool] = []

        def give_up() -> None:
            hung.append(True)
            self.reactor.stop()

        guard = self.reactor.callLater(PATIENCE, give_up)
        self.reactor.run(installSignalHandlers=False)
        self.assertEqual(hung, [])
        guard.cancel()

    def listen(self, build: Callable[[], Any]) -> int:
        factory = protocol.Factory.forProtocol(build)
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.port = direct.direct_port(port)
        return int(port.getHost().port)

    def dial(self, number: int) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", number))
        client.settimeout(PATIENCE)
        self.addCleanup(client.close)
        return client


class Echo(protocol.Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class Turns(Case):
    """The loop itself: delayed calls, threads, the end."""

    def test_delayed_calls_run_in_order(self) -> None:
        seen: list[str] = []
        call = self.reactor.callLater

        def nested() -> None:
            seen.append("nested")
            self.reactor.stop()

        def early() -> None:
            seen.append("early")
            call(0, nested)

        call(0.01, early)
        call(0, seen.append, "first")
        call(0, seen.append, "second")
        cancelled = call(0.005, seen.append, "cancelled")
        call(0, cancelled.cancel)
        self.run_reactor()
        self.assertEqual(seen, ["first", "second", "early", "nested"])

    def test_a_delayed_call_may_be_put_off_and_drawn_near(self) -> None:
        seen: list[str] = []

        def put_off() -> None:
            seen.append("put off")
            self.reactor.stop()

        later = self.reactor.callLater(0.01, put_off)
        sooner = self.reactor.callLater(10, seen.append, "drawn near")
        self.reactor.callLater(0, lambda: (later.reset(0.03), sooner.reset(0.01)))
        self.run_reactor()
        self.assertEqual(seen, ["drawn near", "put off"])

    def test_calls_from_threads(self) -> None:
        seen: list[int] = []

        def work() -> None:
            for number in range(10):
                self.reactor.callFromThread(seen.append, number)
            self.reactor.callFromThread(self.reactor.stop)

        self.reactor.callWhenRunning(self.reactor.callInThread, work)
        self.run_reactor()
        self.assertEqual(seen, list(range(10)))

    def test_a_call_from_a_call_from_a_thread(self) -> None:
        call = self.reactor.callFromThread
        self.reactor.callWhenRunning(lambda: call(lambda: call(self.reactor.stop)))
        self.run_reactor()

    def test_with_no_delayed_call_at_all(self) -> None:
        self.reactor.callWhenRunning(
            self.reactor.callInThread, lambda: self.reactor.callFromThread(self.reactor.stop)
        )
        self.reactor.run(installSignalHandlers=False)

    def test_shutdown_triggers(self) -> None:
        seen: list[str] = []
        wait: defer.Deferred[None] = defer.Deferred()

        def before() -> defer.Deferred[None]:
            seen.append("before")
            self.reactor.callLater(0.01, wait.callback, None)
            return wait

        self.reactor.addSystemEventTrigger("before", "shutdown", before)
        self.reactor.addSystemEventTrigger("after", "shutdown", seen.append, "after")
        self.reactor.callWhenRunning(self.reactor.stop)
        self.run_reactor()
        self.assertEqual(seen, ["before", "after"])

    def test_a_delayed_call_that_raises(self) -> None:
        self.reactor.callLater(0, lambda: 1 // 0)
        self.reactor.callLater(0.01, self.reactor.stop)
        self.run_reactor()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_broken_turn_is_logged_and_the_loop_goes_on(self) -> None:
        def broken() -> None:
            del self.reactor.runUntilCurrent
            raise ZeroDivisionError

        self.reactor.runUntilCurrent = broken
        self.reactor.callLater(0, self.reactor.stop)
        self.run_reactor()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_crash(self) -> None:
        self.reactor.callLater(0, self.reactor.crash)
        self.run_reactor()
        self.assertFalse(self.reactor.running)

    def test_iterate_is_one_turn(self) -> None:
        seen: list[str] = []
        self.reactor.callLater(0, seen.append, "now")
        self.reactor.iterate()
        self.reactor.iterate(0.001)
        self.assertEqual(seen, ["now"])


class Connections(Case):
    def test_echo(self) -> None:
        client = self.dial(self.listen(Echo))
        answer: list[bytes] = []

        def converse() -> None:
            for _ in range(50):
                client.sendall(b"x" * 1000)
                answer.append(client.recv(1000, socket.MSG_WAITALL))
            self.reactor.callFromThread(self.reactor.stop)

        self.reactor.callInThread(converse)
        self.run_reactor()
        self.assertEqual(b"".join(answer), b"x" * 50_000)

    def test_a_large_answer_waits_for_writability(self) -> None:
        size = 8 << 20

        class Large(protocol.Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(bytes(size))
                self.transport.loseConnection()

        client = self.dial(self.listen(Large))
        client.sendall(b"go")
        taken: list[int] = []

        def drain() -> None:
            while data := client.recv(1 << 16):
                taken.append(len(data))
            self.reactor.callFromThread(self.reactor.stop)

        self.reactor.callInThread(drain)
        self.run_reactor()
        self.assertEqual(sum(taken), size)

    def test_refused(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            number = listener.getsockname()[1]
        failures: list[Any] = []
        test = self

        class Factory(protocol.ClientFactory):
            def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
                failures.append(reason.type)
                test.reactor.stop()

        direct.connect_tcp(self.reactor, "127.0.0.1", number, Factory(), 5)
        self.run_reactor()
        self.assertEqual(failures, [error.ConnectionRefusedError])

    def test_connected_client(self) -> None:
        number = self.listen(Echo)
        seen: list[Any] = []
        test = self

        class Talk(protocol.Protocol):
            def connectionMade(self) -> None:
                self.transport.write(b"hello")

            def dataReceived(self, data: bytes) -> None:
                seen.append(data)
                self.transport.loseConnection()

            def connectionLost(self, reason: Any = None) -> None:
                seen.append(reason.type)
                test.reactor.stop()

        factory = protocol.ClientFactory.forProtocol(Talk)
        direct.connect_tcp(self.reactor, "127.0.0.1", number, factory, 5)
        self.run_reactor()
        self.assertEqual(seen, [b"hello", error.ConnectionDone])

    def test_half_close(self) -> None:
        test = self
        seen: list[str] = []

        @implementer(IHalfCloseableProtocol)
        class Half(protocol.Protocol):
            def readConnectionLost(self) -> None:
                seen.append("read")
                self.transport.write(b"still here")
                self.transport.loseConnection()

            def writeConnectionLost(self) -> None:
                seen.append("write")

            def connectionLost(self, reason: Any = None) -> None:
                seen.append("both")
                test.reactor.stop()

        client = self.dial(self.listen(Half))
        client.shutdown(socket.SHUT_WR)
        self.run_reactor()
        self.assertEqual(seen, ["read", "both"])
        self.assertEqual(client.recv(100), b"still here")

    def lost(self, hurt: Callable[[socket.socket], None], pause: bool) -> list[Any]:
        test = self
        seen: list[Any] = []

        class Victim(protocol.Protocol):
            def connectionMade(self) -> None:
                if pause:
                    self.transport.pauseProducing()
                    self.transport.write(bytes(32 << 20))
                hurt(client)

            def connectionLost(self, reason: Any = None) -> None:
                seen.append(reason.type)
                test.reactor.stop()

        client = self.dial(self.listen(Victim))
        self.run_reactor()
        return seen

    @staticmethod
    def reset(client: socket.socket) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    def test_closed_by_the_peer(self) -> None:
        self.assertEqual(self.lost(socket.socket.close, pause=False), [error.ConnectionDone])

    def test_reset_by_the_peer(self) -> None:
        self.assertEqual(self.lost(self.reset, pause=False), [error.ConnectionLost])

    def test_reset_while_only_writing(self) -> None:
        self.assertEqual(self.lost(self.reset, pause=True), [error.ConnectionLost])

    def test_an_exception_closes_that_connection_alone(self) -> None:
        test = self
        lost: list[Any] = []

        class Fragile(protocol.Protocol):
            def dataReceived(self, data: bytes) -> None:
                if data == b"bad":
                    raise ZeroDivisionError
                self.transport.write(data)

            def connectionLost(self, reason: Any = None) -> None:
                lost.append(reason.type)
                if reason.type is ZeroDivisionError:
                    raise KeyError("twice")
                test.reactor.stop()

        number = self.listen(Fragile)
        good, bad = self.dial(number), self.dial(number)
        answers: list[bytes] = []

        def converse() -> None:
            bad.sendall(b"bad")
            answers.append(bad.recv(10))
            good.sendall(b"good")
            answers.append(good.recv(10))
            good.close()

        self.reactor.callInThread(converse)
        self.run_reactor()
        self.assertEqual(answers, [b"", b"good"])
        self.assertEqual(lost, [ZeroDivisionError, error.ConnectionDone])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_more_events_than_one_poll_takes(self) -> None:
        self.patch(lean, "MAX_EVENTS", 2)
        number = self.listen(Echo)
        clients = [self.dial(number) for _ in range(9)]
        for client in clients:
            client.sendall(b"x")
        answers: list[bytes] = []

        def collect() -> None:
            answers.extend(client.recv(1) for client in clients)
            self.reactor.callFromThread(self.reactor.stop)

        self.reactor.callInThread(collect)
        self.run_reactor()
        self.assertEqual(answers, [b"x"] * 9)


class Descriptor:
    """A bare ``IReadWriteDescriptor`` on one end of a socket pair."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.near, self.far = socket.socketpair()
        case.addCleanup(self.near.close)
        case.addCleanup(self.far.close)
        self.near.setblocking(False)
        self.seen: list[Any] = []
        self.number = self.near.fileno()

    def fileno(self) -> int:
        return self.number

    def logPrefix(self) -> str:
        return "descriptor"

    def doRead(self) -> Any:
        self.seen.append("read")
        self.near.recv(100)

    def doWrite(self) -> Any:
        self.seen.append("write")
        self.case.reactor.removeWriter(self)

    def connectionLost(self, reason: Any) -> None:
        self.seen.append(reason.type)
        if self.case.reactor.running:
            self.case.reactor.stop()


class Descriptors(Case):
    def test_readable_and_writable_at_once(self) -> None:
        descriptor = Descriptor(self)
        descriptor.far.send(b"x")
        self.reactor.addReader(descriptor)
        self.reactor.addWriter(descriptor)
        descriptor.doWrite = self.reactor.stop
        self.run_reactor()
        self.assertEqual(descriptor.seen[:1], ["read"])

    def test_a_returned_error_disconnects(self) -> None:
        descriptor = Descriptor(self)
        descriptor.doRead = error.ConnectionAborted  # type: ignore[method-assign]
        descriptor.far.send(b"x")
        self.reactor.addReader(descriptor)
        self.run_reactor()
        self.assertEqual(descriptor.seen, [error.ConnectionAborted])

    def test_an_error_in_do_write(self) -> None:
        descriptor = Descriptor(self)
        descriptor.doWrite = lambda: 1 // 0  # type: ignore[method-assign]
        self.reactor.addWriter(descriptor)
        self.run_reactor()
        self.assertEqual(descriptor.seen, [ZeroDivisionError])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_descriptor_that_went_away(self) -> None:
        descriptor = Descriptor(self)
        self.reactor.addReader(descriptor)
        descriptor.number = -1
        descriptor.far.send(b"x")
        self.run_reactor()
        self.assertEqual(descriptor.seen, [error.ConnectionFdescWentAway])

    def test_removed_by_the_handler_of_an_earlier_event(self) -> None:
        first, second = Descriptor(self), Descriptor(self)
        for descriptor, other in ((first, second), (second, first)):
            descriptor.far.send(b"x")

            def read(descriptor: Descriptor = descriptor, other: Descriptor = other) -> None:
                descriptor.seen.append("read")
                self.reactor.removeReader(descriptor)
                self.reactor.removeReader(other)
                self.reactor.callLater(0, self.reactor.stop)

            descriptor.doRead = read  # type: ignore[method-assign]
            self.reactor.addReader(descriptor)
        self.run_reactor()
        self.assertEqual(sorted([first.seen, second.seen]), [[], ["read"]])

    def test_a_plain_file_is_polled_all_the_time(self) -> None:
        path = self.mktemp()
        with open(path, "wb+") as file:
            descriptor = Descriptor(self)
            descriptor.number = file.fileno()
            descriptor.doWrite = self.reactor.stop
            self.reactor.addWriter(descriptor)
            self.run_reactor()


class StockTurns(Turns):
    """The same cases on the stock reactor: they describe it, not ours."""

    make = EPollReactor


class StockConnections(Connections):
    make = EPollReactor


class StockDescriptors(Descriptors):
    make = EPollReactor


class InstallTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.installed: list[Any] = []
        self.patch(lean.main, "installReactor", self.installed.append)
        self.addCleanup(self.close)

    def close(self) -> None:
        for reactor in self.installed:
            for reader in list(reactor._internalReaders):
                reactor._removeInternalReader(reader)
                reader.connectionLost(None)
            reactor._poller.close()

    def test_install(self) -> None:
        lean.install()
        self.assertEqual([type(reactor) for reactor in self.installed], [lean.LeanReactor])

    def test_stock_on_a_twisted_that_changed(self) -> None:
        self.patch(lean, "_NAMES", "running nonsense")
        lean.install()
        self.assertEqual([type(reactor) for reactor in self.installed], [EPollReactor])

    def test_what_is_missing_is_named(self) -> None:
        self.patch(lean, "_NAMES", "nonsense")
        self.assertEqual(lean.mismatches(object()), ["the epoll reactor has no nonsense"])

    def test_not_when_one_is_chosen(self) -> None:
        self.assertFalse(lean.install_unless_chosen())
        self.assertEqual(self.installed, [])

    def test_when_none_is_chosen(self) -> None:
        with mock.patch.dict(sys.modules):
            del sys.modules["twisted.internet.reactor"]
            self.assertTrue(lean.install_unless_chosen())
        self.assertEqual(len(self.installed), 1)

    def test_offered_to_twistd(self) -> None:
        [plugin] = [each for each in getReactorTypes() if each.shortName == "txrproxy"]
        plugin.install()
        self.assertEqual([type(reactor) for reactor in self.installed], [lean.LeanReactor])


class TwistedContract(Case):
    """What the loop takes for granted about Twisted's insides."""

    make = EPollReactor

    def test_names(self) -> None:
        self.assertEqual(lean.mismatches(self.reactor), [])

    def test_where_work_waits(self) -> None:
        call = self.reactor.callLater(5, int)
        self.assertEqual(self.reactor._newTimedCalls, [call])
        self.reactor.runUntilCurrent()
        self.assertEqual(self.reactor._newTimedCalls, [])
        self.assertEqual(self.reactor._pendingTimedCalls, [call])
        self.assertLessEqual(call.time, self.reactor.seconds() + 5)
        self.reactor.callFromThread(int)
        self.assertEqual(len(self.reactor.threadCallQueue), 1)
        self.assertFalse(self.reactor._justStopped)
        call.cancel()


class ProcessTests(SynchronousTestCase):
    """In a process of its own, where the lean reactor is the reactor."""

    SCRIPT = """
import sys
from txrproxy.transport import reactor as lean
assert lean.install_unless_chosen()
from twisted.internet import protocol, reactor
assert type(reactor).__name__ == "LeanReactor", reactor

class Child(protocol.ProcessProtocol):
    def outReceived(self, data):
        self.data = data
    def processEnded(self, reason):
        print("child", reason.value.exitCode, self.data.decode(), flush=True)

code = "print(6 * 7); raise SystemExit(3)"
reactor.spawnProcess(Child(), sys.executable, [sys.executable, "-c", code])
reactor.run()
print("stopped", flush=True)
"""

    def test_children_and_signals(self) -> None:
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        process = subprocess.Popen(
            [sys.executable, "-c", self.SCRIPT],
            stdout=subprocess.PIPE,
            cwd=root,
            text=True,
        )
        assert process.stdout is not None
        try:
            self.assertEqual(process.stdout.readline(), "child 3 42\n")
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=PATIENCE)
            self.assertEqual(rest.strip(), "stopped")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
