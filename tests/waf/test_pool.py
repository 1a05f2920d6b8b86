"""Engines are kept at work and alive, and nobody waits for ever."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.transport.deadlines import Deadlines
from txrproxy.waf.launch import environment
from txrproxy.waf.pool import BACK_OFF, COMPLAINT, STARTUP, STEADY, Engines
from txrproxy.waf.verdict import CLEAR
from txrproxy.waf.wire import Messages, pack


class Process:
    """One that was started, and what was said to it."""

    def __init__(self, protocol: Any, pid: int) -> None:
        self.protocol = protocol
        self.pid = pid
        self.killed = False
        self.ended = False
        self._messages = Messages()
        self.told: list[list[bytes]] = []
        self.environment: Any = None

    def write(self, data: bytes) -> None:
        self.told += self._messages.feed(data)

    def signalProcess(self, name: str) -> None:
        if self.ended:
            raise ProcessExitedAlready
        self.killed = True

    # What it does.

    def say(self, *parts: bytes) -> None:
        self.protocol.outReceived(pack(parts))

    def judge(self, verdict: bytes = b"") -> None:
        self.say(self.told[-1][1], verdict)

    def end(self, code: int | None = 1, signal: int | None = None) -> None:
        self.ended = True
        reason = ProcessDone(0) if code == 0 else ProcessTerminated(code, signal)
        self.protocol.processEnded(Failure(reason))


class Reactor(Clock):
    """Time, and processes that a test plays."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []
        self.refuses = False

    def spawnProcess(self, protocol: Any, executable: str, args: Any, env: Any) -> None:
        if self.refuses:
            raise OSError(11, "Resource temporarily unavailable")
        process = Process(protocol, 100 + len(self.processes))
        process.environment = env
        self.processes.append(process)
        protocol.transport = process
        protocol.connectionMade()


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.deadlines = Deadlines(self.reactor)
        self.results: list[tuple[str, Any, str]] = []
        self.addCleanup(self.deadlines.close)

    def engines(self, processes: int = 1, **settings: Any) -> Engines:
        engines = Engines(self.reactor, self.deadlines, ["text"], processes, **settings)
        engines.start()
        return engines

    def ready(self, processes: int = 1, **settings: Any) -> Engines:
        engines = self.engines(processes, **settings)
        for process in self.reactor.processes:
            process.say(b"ready", b"[1]")
        return engines

    def ask(self, engines: Engines, name: str) -> Any:
        def done(verdict: Any, why: str) -> None:
            self.results.append((name, verdict, why))

        return engines.inspect([b"request", name.encode()], done)

    @property
    def process(self) -> Process:
        return self.reactor.processes[-1]

    def pump(self, seconds: float) -> None:
        self.reactor.pump([0.05] * round(seconds / 0.05))

    # At work.

    def test_one_after_the_other(self) -> None:
        engines = self.ready()
        self.assertEqual(self.process.told, [[b"rules", b"text"]])
        self.ask(engines, "a")
        self.ask(engines, "b")
        self.assertEqual(self.process.told[1:], [[b"request", b"1", b"a"]])
        self.assertIn("1 wait", repr(engines))
        self.process.judge()
        self.assertEqual(self.results, [("a", CLEAR, "")])
        told = {"blocked": True, "score": 9, "matches": [{"id": 1}]}
        self.process.judge(json.dumps(told).encode())
        _, verdict, why = self.results[1]
        self.assertEqual((verdict.blocked, verdict.score, verdict.matches), (True, 9, [{"id": 1}]))
        self.assertEqual(why, "")
        self.assertEqual(engines.inspected, 2)

    def test_several(self) -> None:
        engines = self.ready(2)
        for name in "abc":
            self.ask(engines, name)
        asked = [process.told[1:] for process in self.reactor.processes]
        self.assertEqual([len(each) for each in asked], [1, 1])
        self.reactor.processes[0].judge()
        self.assertEqual(self.reactor.processes[0].told[-1][2], b"c")

    def test_waits_for_the_first_engine(self) -> None:
        engines = self.engines()
        self.ask(engines, "a")
        ready = engines.ready()
        self.assertNoResult(ready)
        self.process.say(b"ready", b"[1]")
        self.successResultOf(ready)
        self.successResultOf(engines.ready())
        self.assertEqual(self.process.told[-1], [b"request", b"1", b"a"])

    def test_starts_when_it_is_needed(self) -> None:
        engines = Engines(self.reactor, self.deadlines, ["text"])
        self.assertEqual(self.reactor.processes, [])
        for name in "ab":
            self.ask(engines, name)
        self.assertEqual(len(self.reactor.processes), 1)

    def test_queue_is_bounded(self) -> None:
        engines = self.ready(queue=1)
        for name in "abc":
            self.ask(engines, name)
        self.assertEqual(self.results, [("c", None, "the queue is full")])
        self.assertEqual(engines.troubles, {"the queue is full": 1})

    def test_no_queue(self) -> None:
        engines = self.ready(queue=0)
        self.ask(engines, "a")
        self.process.judge()
        self.assertEqual(self.results, [("a", CLEAR, "")])

    # Deadlines.

    def test_deadline_in_the_queue(self) -> None:
        engines = self.ready(timeout=1.0)
        self.ask(engines, "a")
        self.ask(engines, "b")
        self.pump(0.9)
        self.assertEqual(self.results, [])
        self.assertFalse(self.process.killed)
        self.pump(0.4)
        late = "no verdict in time"
        self.assertEqual(self.results, [("a", None, late), ("b", None, late)])
        self.assertTrue(self.process.killed)

    def test_late_verdict_is_no_news(self) -> None:
        engines = self.ready(timeout=1.0)
        self.ask(engines, "a")
        self.ask(engines, "b")
        self.pump(0.8)
        self.process.judge()
        self.pump(0.5)
        self.assertEqual(self.results[-1], ("b", None, "no verdict in time"))
        self.assertFalse(self.process.killed)  # it has not been at it for long
        self.process.judge()
        self.assertEqual(len(self.results), 2)
        self.ask(engines, "c")
        self.process.judge()
        self.assertEqual(self.results[-1], ("c", CLEAR, ""))

    def test_cancelled(self) -> None:
        engines = self.ready()
        for inspection in [self.ask(engines, name) for name in "abc"][:2]:
            engines.cancel(inspection)
        self.process.judge()
        self.assertEqual(self.process.told[-1][2], b"c")
        self.process.judge()
        self.assertEqual(self.results, [("c", CLEAR, "")])

    # Ends of a process.

    def test_dies(self) -> None:
        engines = self.ready()
        self.ask(engines, "a")
        self.ask(engines, "b")
        self.process.protocol.errReceived(b"Traceback\n")
        self.process.end()
        self.assertEqual(self.results, [("a", None, "the engine died")])
        self.reactor.advance(BACK_OFF[0])
        self.assertEqual(len(self.reactor.processes), 2)
        self.process.say(b"ready", b"[1]")
        self.process.judge()
        self.assertEqual(self.results[1], ("b", CLEAR, ""))

    def test_what_it_died_of(self) -> None:
        logged: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        self.ready()
        for code, signal in ((0, None), (3, None), (None, 9)):
            self.process.end(code, signal)
            self.reactor.advance(BACK_OFF[1])
        why = [event["why"] for event in logged if "delay" in event]
        self.assertEqual(why, ["status 0", "status 3", "killed by signal 9"])

    def test_gets_no_secrets(self) -> None:
        self.ready()
        self.assertEqual(self.process.environment, environment())

    def test_dies_idle(self) -> None:
        engines = self.ready()
        self.process.end()
        self.ask(engines, "a")
        self.assertEqual(self.results, [])
        self.reactor.advance(BACK_OFF[0])
        self.process.say(b"ready", b"[1]")
        self.process.judge()
        self.assertEqual(self.results, [("a", CLEAR, "")])

    def test_backs_off(self) -> None:
        engines = self.engines()
        ready = engines.ready()
        delays = []
        for _ in range(12):
            self.process.say(b"failed", b'[0, "nonsense"]')
            self.process.end(0)
            call = min(
                c for c in self.reactor.getDelayedCalls() if c.func == self.process.protocol.start
            )
            delays.append(call.getTime() - self.reactor.seconds())
            self.reactor.advance(delays[-1])
        self.assertEqual(delays[:4], sorted(delays[:4]))
        self.assertAlmostEqual(delays[0], BACK_OFF[0])
        self.assertAlmostEqual(delays[-1], BACK_OFF[1])
        self.successResultOf(ready)  # it is known that none is to be had
        self.process.say(b"ready", b"[1]")
        self.pump(STEADY)
        self.process.end()
        self.reactor.advance(BACK_OFF[0])
        self.assertEqual(len(self.reactor.processes), 14)

    def test_no_more_processes(self) -> None:
        self.reactor.refuses = True
        self.engines()
        self.reactor.refuses = False
        self.reactor.advance(BACK_OFF[0])
        self.assertEqual(len(self.reactor.processes), 1)

    def test_never_ready(self) -> None:
        self.engines()
        self.pump(STARTUP + 2)
        self.assertTrue(self.process.killed)

    def test_makes_no_sense(self) -> None:
        for data in (
            b"\xff\xff\xff\xff",
            pack([b"77", b""]),
            pack([b"one"]),
            pack([b"1", b"{"]),
            pack([b"1", b"{}"]),
        ):
            engines = self.ready()
            self.ask(engines, "a")
            self.process.protocol.outReceived(data)
            self.assertTrue(self.process.killed, data)
            engines.close()
            self.reactor.processes.clear()

    # The end.

    def test_close(self) -> None:
        engines = self.ready()
        self.assertEqual(engines.pids, [100])
        self.ask(engines, "a")
        self.ask(engines, "b")
        engines.close()
        self.assertTrue(self.process.killed)
        self.process.end()
        self.ask(engines, "c")
        self.assertEqual(
            [(name, why) for name, _, why in self.results],
            [
                ("b", "the engines are closed"),
                ("a", "the engine died"),
                ("c", "the engines are closed"),
            ],
        )
        self.assertEqual(engines.pids, [])
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.processes), 1)

    def test_close_while_restarting_or_ended(self) -> None:
        engines = self.ready()
        self.process.end()
        engines.close()
        self.assertEqual(len(self.reactor.processes), 1)
        other = self.ready()
        self.process.ended = True
        other.close()

    def test_complains_once_in_a_while(self) -> None:
        logged: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        engines = self.ready(queue=0)
        self.ask(engines, "a")
        for _ in range(100):
            self.ask(engines, "b")
        self.assertEqual(len(logged), 1)
        self.reactor.advance(COMPLAINT)
        self.ask(engines, "b")
        self.assertEqual([event["count"] for event in logged if "count" in event][:1], [1])

    def test_a_failing_listener_is_not_the_engines_fault(self) -> None:
        engines = self.ready()

        def done(verdict: Any, why: str) -> None:
            raise ValueError("oh")

        engines.inspect([b"request"], done)
        self.process.judge()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertFalse(self.process.killed)
