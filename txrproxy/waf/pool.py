"""Engine processes, and what waits for them.

::

    inspect ─▶ a free engine, or the queue ─▶ an engine ─▶ verdict ─▶ done(verdict, OK)
                    │ full                      │ died, or stuck
                    └────── done(None, why) ◀───┴─ the deadline

Nobody waits longer than ``timeout`` for a verdict, and nothing here blocks. An engine looks at one
inspection at a time. One that dies takes only that one with it, and is started again; one that sits
over an inspection for longer than ``timeout`` is killed. What is to become of an inspection without
a verdict is not decided here.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from txrproxy.transport.deadlines import Deadlines, Queue
from txrproxy.waf.launch import COMMAND, environment
from txrproxy.waf.verdict import CLEAR, Verdict
from txrproxy.waf.wire import BadMessage, Messages, pack

# Why there is no verdict.
OK = ""
FULL = "the queue is full"
LATE = "no verdict in time"
DIED = "the engine died"
CLOSED = "the engines are closed"
WORDS = {FULL: "queue_full", LATE: "late", DIED: "died", CLOSED: "closed"}  # for metrics

STARTUP = 60.0  # seconds to load the rules
STEADY = 60.0  # seconds after which an engine that dies is started again at once
BACK_OFF = (0.1, 30.0)  # seconds before a restart: the first time, at most
COMPLAINT = 10.0  # seconds between two lines in the log about the same trouble

Done = Callable[[Verdict | None, str], object]

_logger = Logger()


class Inspection:
    """One thing to look at. ``done`` is called once, unless it is cancelled."""

    __slots__ = ("done", "engines", "parts")

    def __init__(self, engines: Engines, parts: Sequence[bytes], done: Done | None) -> None:
        self.engines = engines
        self.parts = parts
        self.done = done

    def finish(self, verdict: Verdict | None, why: str) -> None:
        done, self.done = self.done, None
        if done is not None:
            try:
                done(verdict, why)
            except Exception:
                _logger.failure("An inspected request failed")

    def late(self) -> None:
        """The deadline has passed."""
        self.engines.late(self)


class Engines:
    """Processes that inspect by the same rules.

    ``texts`` are those of the rule sets. ``queue`` is how many inspections may wait, ``timeout`` in
    seconds. ``reactor`` provides IReactorProcess and IReactorTime.
    """

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        texts: Sequence[str],
        processes: int = 1,
        queue: int = 256,
        timeout: float = 2.0,
    ) -> None:
        self.reactor = reactor
        self.texts = tuple(texts)
        self.closed = False
        self.inspected = 0
        self.troubles: Counter[str] = Counter()  # inspections without a verdict, by reason
        self.wait: Queue[Inspection] = deadlines.queue(timeout, Inspection.late)
        self.run: Queue[_Engine] = deadlines.queue(timeout, _Engine.stuck)
        self.startup: Queue[_Engine] = deadlines.queue(STARTUP, _Engine.stuck)
        self._limit = queue
        self._engines = [_Engine(self, number + 1) for number in range(processes)]
        self._idle: list[_Engine] = []
        self._waiting: OrderedDict[Inspection, None] = OrderedDict()
        self._ready: list[Deferred[None]] = []
        self._started = False
        self._tried = False
        self._complained: dict[str, float] = {}

    def __repr__(self) -> str:
        return (
            f"<Engines {len(self._idle)} idle of {len(self._engines)}, {len(self._waiting)} wait>"
        )

    def start(self) -> None:
        """Start the processes, unless they are; the first inspection does so too."""
        if self._started:
            return
        self._started = True
        for engine in self._engines:
            engine.start()

    def ready(self) -> Deferred[None]:
        """Fires when an engine is there, or it has turned out that none can be."""
        ready: Deferred[None] = Deferred()
        if self._tried:
            ready.callback(None)
        else:
            self._ready.append(ready)
        return ready

    def close(self) -> None:
        """End the processes; what still waits gets no verdict."""
        self.closed = True
        for engine in self._engines:
            engine.close()
        self._idle = []
        while self._waiting:
            self._give_up(self._waiting.popitem(last=False)[0], CLOSED)
        self.tried()

    @property
    def waiting(self) -> int:
        """Inspections that no engine has begun with."""
        return len(self._waiting)

    @property
    def pids(self) -> list[int]:
        """The processes that run."""
        return [e.transport.pid for e in self._engines if e.transport is not None]

    # Inspecting.

    def inspect(self, parts: Sequence[bytes], done: Done) -> Inspection:
        """Have an engine look at ``parts`` (:mod:`txrproxy.waf.engine`, without the number).

        ``done(verdict, why)`` is called once, perhaps at once: with None for a verdict that is not
        to be had, and why.
        """
        inspection = Inspection(self, parts, done)
        if self.closed:
            self._give_up(inspection, CLOSED)
        elif self._idle:
            self.wait.start(inspection, self.reactor.seconds())
            self._idle.pop().begin(inspection)
        elif len(self._waiting) >= self._limit:
            self._give_up(inspection, FULL)
        else:
            self.wait.start(inspection, self.reactor.seconds())
            self._waiting[inspection] = None
            self.start()
        return inspection

    def cancel(self, inspection: Inspection) -> None:
        """Nobody wants to know any more."""
        inspection.done = None
        self.wait.stop(inspection)
        self._waiting.pop(inspection, None)

    def late(self, inspection: Inspection) -> None:
        """No verdict in time; an engine may still be at it."""
        self._waiting.pop(inspection, None)
        self._give_up(inspection, LATE)

    def _give_up(self, inspection: Inspection, why: str) -> None:
        self.wait.stop(inspection)
        if inspection.done is not None:
            self.troubles[why] += 1
            self.complain(why)
            inspection.finish(None, why)

    def complain(self, why: str) -> None:
        """Log trouble, but not for each request of a flood."""
        now = self.reactor.seconds()
        last = self._complained.get(why)
        if last is None or now - last >= COMPLAINT:
            self._complained[why] = now
            _logger.warn(
                "web application firewall: {why} (requests so far: {count})",
                why=why,
                count=self.troubles[why],
            )

    # What an engine says of itself.

    def tried(self) -> None:
        """An engine is there, or is not to be had at present."""
        self._tried = True
        waiting, self._ready = self._ready, []
        for ready in waiting:
            ready.callback(None)

    def free(self, engine: _Engine) -> None:
        """Give it the next inspection."""
        if self._waiting:
            engine.begin(self._waiting.popitem(last=False)[0])
        else:
            self._idle.append(engine)

    def judged(self, inspection: Inspection, verdict: Verdict) -> None:
        self.inspected += 1
        self.wait.stop(inspection)
        inspection.finish(verdict, OK)

    def lost(self, engine: _Engine, inspection: Inspection | None) -> None:
        if engine in self._idle:
            self._idle.remove(engine)
        if inspection is not None:
            self._give_up(inspection, DIED)


class _Engine(ProcessProtocol):
    """One process, started again when it ends."""

    def __init__(self, engines: Engines, number: int) -> None:
        self.transport: Any = None
        self._engines = engines
        self._number = number
        self._messages = Messages()
        self._inspection: Inspection | None = None
        self._sequence = 0
        self._failures = 0
        self._since = 0.0
        self._restart: Any = None
        self._complaint = b""

    def start(self) -> None:
        self._restart = None
        engines = self._engines
        self._messages = Messages()
        self._complaint = b""
        self._since = engines.reactor.seconds()
        engines.startup.start(self, self._since)
        try:
            engines.reactor.spawnProcess(self, COMMAND[0], COMMAND, env=environment())
        except OSError as error:  # no more processes, no more memory
            self._ended(error.strerror or str(error))

    def connectionMade(self) -> None:
        texts = [text.encode() for text in self._engines.texts]
        self.transport.write(pack([b"rules", *texts]))

    def close(self) -> None:
        self._engines.startup.stop(self)
        self._engines.run.stop(self)
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        self._kill()

    def _kill(self) -> None:
        if self.transport is not None:
            try:
                self.transport.signalProcess("KILL")
            except ProcessExitedAlready:
                pass

    def stuck(self) -> None:
        """Too long over one request, or over the rules."""
        _logger.warn("web application firewall: engine {number} is stuck", number=self._number)
        self._kill()

    def begin(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._sequence += 1
        engines = self._engines
        engines.run.start(self, engines.reactor.seconds())
        kind, *rest = inspection.parts
        self.transport.write(pack([kind, b"%d" % self._sequence, *rest]))

    def outReceived(self, data: bytes) -> None:
        try:
            for message in self._messages.feed(data):
                self._told(*message)
        except (BadMessage, TypeError, ValueError, KeyError) as error:
            _logger.error(
                "web application firewall: engine {number} makes no sense: {error}",
                number=self._number,
                error=str(error),
            )
            self._kill()

    def _told(self, kind: bytes, body: bytes) -> None:
        engines = self._engines
        if kind == b"ready":
            engines.startup.stop(self)
            engines.tried()
            engines.free(self)
        elif kind == b"failed":
            _, why = json.loads(body)
            _logger.error("web application firewall: the rules do not load: {why}", why=why)
        elif kind == b"%d" % self._sequence and self._inspection is not None:
            verdict = CLEAR
            if body:
                told = json.loads(body)
                verdict = Verdict(told["blocked"], told["score"], told["matches"])
            inspection, self._inspection = self._inspection, None
            engines.run.stop(self)
            engines.free(self)
            engines.judged(inspection, verdict)
        else:
            raise ValueError("an answer to nothing")

    def errReceived(self, data: bytes) -> None:
        self._complaint = (self._complaint + data)[-2048:]

    def processEnded(self, reason: Failure) -> None:
        self.transport = None
        ended: Any = reason.value  # ProcessDone or ProcessTerminated
        if ended.signal is not None:
            self._ended(f"killed by signal {ended.signal}")
        else:
            self._ended(f"status {ended.exitCode}")

    def _ended(self, why: str) -> None:
        engines = self._engines
        engines.startup.stop(self)
        engines.run.stop(self)
        inspection, self._inspection = self._inspection, None
        if not engines.closed:
            lived = engines.reactor.seconds() - self._since
            self._failures = 1 if lived >= STEADY else self._failures + 1
            first, most = BACK_OFF
            delay = min(most, first * 2 ** min(self._failures - 1, 20))
            _logger.error(
                "web application firewall: engine {number} ended ({why}), restart in {delay} s"
                "{complaint}",
                number=self._number,
                why=why,
                delay=round(delay, 1),
                complaint=self._said(),
            )
            self._restart = engines.reactor.callLater(delay, self.start)
        engines.lost(self, inspection)
        engines.tried()

    def _said(self) -> str:
        text = self._complaint.decode("utf-8", "backslashreplace").strip()
        return f": {text}" if text else ""
