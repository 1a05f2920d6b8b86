"""The main process over its workers: makes them, replaces them, changes and ends them together.

Each worker is told what to do over a channel, and its end is seen (:mod:`.processes`). With
``workers = 0`` there is one that is no process: its channel ends in this one. How all of them go
from one configuration to the next is :mod:`.change`.

Topics are open to whoever has something to tell between processes. ``master.register(topic,
callback)`` calls ``callback(worker, body)`` for what any worker sends, ``master.broadcast(topic,
body)`` tells all workers; in a worker it is ``channel.register`` and ``channel.send``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, succeed
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from txrproxy.config.schema import Config
from txrproxy.guards.state import SharedMemory, SharedState
from txrproxy.service.board import EJECTIONS, TOLD, Board
from txrproxy.service.change import PATIENCE, Change
from txrproxy.service.processes import Handle, cause, when_ended
from txrproxy.service.sockets import Listeners, messages
from txrproxy.service.worker import Worker, run
from txrproxy.tls.tickets import make_all, turn
from txrproxy.transport.channel import (
    Body,
    Channel,
    Lost,
    Refused,
    local_pair,
    socket_pair,
    wait,
)

_logger = Logger()

STEADY = 1.0  # seconds of service after which a worker's death is no sign of a lasting fault
AT_ONCE = 5  # deaths in a row, each sooner than that, that are followed by a replacement at once
LONGEST = 30.0  # seconds between two tries, at most
ANSWER = 5.0  # seconds for a worker to answer what takes it no time
PLACES = 64  # for workers in the memory of limits, at least
TURN = 3600.0  # seconds between two looks whether the keys of tickets are old
GRACE = 5.0  # seconds beyond the drain timeout until a worker that does not end is killed


class Master:
    """Its workers. ``listeners`` are the sockets they accept from."""

    def __init__(self, reactor: Any, listeners: Listeners) -> None:
        self.config: Config
        self.listeners = listeners
        self.board = Board(reactor, self.broadcast)
        self.workers: dict[int, Handle] = {}  # by number; a number keeps its place when one dies
        self.restarts = 0
        self.generation = 0
        self.when_ended: list[Callable[[Handle], object]] = []  # told of each process that is gone
        self._reactor = reactor
        self._topics: dict[str, Callable[[Handle, Body], Any]] = {}
        self._lock = DeferredLock()
        self._winding_down = False
        self._stopping: Deferred[None] | None = None
        self._delayed: dict[int, Any] = {}  # replacements that are waiting
        self._quick: dict[int, int] = {}  # deaths in a row that came soon, by number
        self._all: set[Handle] = set()  # those that are leaving, too
        self._keys: list[Any] = []  # the call that turns those of tickets
        self._limits: SharedMemory | None = None  # without processes there is nothing to share
        self.register("log", _log)
        self.register("leaving", lambda worker, _: self._leaves(worker))
        self.register("counted", lambda worker, body: None)  # until somebody wants to know
        self.register(EJECTIONS, lambda _, body: self.board.hear(body))

    # Topics.

    def register(self, topic: str, callback: Callable[[Handle, Body], Any]) -> None:
        """Call ``callback(worker, body)`` for each message of a topic from a worker.

        Its answer is as in :mod:`txrproxy.transport.channel`.
        """
        self._topics[topic] = callback
        for worker in self.workers.values():
            self._listen_to(worker, topic)

    def _listen_to(self, worker: Handle, topic: str) -> None:
        callback = self._topics[topic]
        worker.channel.register(topic, lambda body: callback(worker, body))

    def broadcast(self, topic: str, body: Body | None = None, but: Handle | None = None) -> None:
        """Send a message to every worker that serves, except ``but``."""
        for worker in self.serving:
            if worker is not but:
                worker.channel.send(topic, body)

    def settled(self) -> Deferred[Any]:
        """Fires when every worker has taken what it was told so far, or that takes too long."""
        calls = [w.channel.call(TOLD).addTimeout(ANSWER, self._reactor) for w in self.serving]
        return DeferredList(calls, consumeErrors=True)

    @property
    def serving(self) -> list[Handle]:
        """The workers that have a configuration and are to stay, in order."""
        found = [w for w in self.workers.values() if w.ready_since is not None and not w.leaving]
        return sorted(found, key=lambda worker: worker.number)

    @property
    def processes(self) -> list[Handle]:
        """Those of workers that have come up, the ones that are leaving as well."""
        return [w for w in self._all if w.pid and w.ready_since is not None]

    # Beginning.

    def start(self, config: Config, count: int) -> None:
        """Make ``count`` workers, 0 for one in this process, and wait until all serve.

        For before the reactor runs. Raises :class:`Refused`.
        """
        self.config = config
        if count:
            make_all(time.monotonic())
            self._turn_keys()
            self._limits = SharedMemory.create(max(PLACES, 4 * count))
        made = [self._spawn(number) for number in range(1, count + 1)] or [self._local()]
        done = DeferredList(
            [self._bring_up(worker) for worker in made],
            fireOnOneErrback=True,
            consumeErrors=True,
        )
        try:
            wait([worker.channel for worker in made], done, PATIENCE)
            self.board.prepare(config)
        except TimeoutError as error:
            raise Refused("the workers did not become ready in time") from error
        except Exception as error:
            inner: Any = error
            why = inner.subFailure.value if hasattr(inner, "subFailure") else error
            for worker in made:
                worker.kill()
            raise Refused(str(why)) from error
        self.board.commit()
        self.generation += 1

    def _turn_keys(self) -> None:
        """Forget the keys of tickets that workers forget: this process has them, too."""
        turn(time.monotonic())
        self._keys = [self._reactor.callLater(TURN, self._turn_keys)]

    def _local(self) -> Handle:
        ours, theirs = local_pair()
        Worker(theirs, self._reactor)
        return self._know(Handle(1, ours, 0, self._reactor.seconds()))

    def _spawn(self, number: int) -> Handle:
        """Fork a worker: a copy of this process, whatever lies on the disk by now."""
        ours, theirs = socket_pair()
        sockets = list(messages(self.listeners.groups))
        place = self._free_place()
        state = None
        if self._limits is not None and place < self._limits.workers:
            state = SharedState(self._limits, place)
        else:
            _logger.warn("worker {number} counts for its limits alone", number=number)
        pid = os.fork()
        if pid == 0:
            run(number, theirs, self.config, sockets, state)
        theirs.close()
        born = self._reactor.seconds()
        worker = Handle(number, Channel(self._reactor, ours), pid, born, place=place)
        when_ended(pid, self._reactor, lambda status: self._ended(worker, status))
        return self._know(worker)

    def _free_place(self) -> int:
        """One that no process has, be it one that is leaving."""
        taken = {worker.place for worker in self._all}
        return next(place for place in range(len(taken) + 1) if place not in taken)

    def _know(self, worker: Handle) -> Handle:
        self.workers[worker.number] = worker
        self._all.add(worker)
        for topic in self._topics:
            self._listen_to(worker, topic)
        return worker

    def _bring_up(self, worker: Handle) -> Deferred[None]:
        """Let a new worker build the configuration; fires when it serves."""
        if not worker.pid:
            worker.give(self.listeners.groups)

        def ready(_: object) -> None:
            worker.ready_since = self._reactor.seconds()
            if self.board.backends is not None:
                worker.channel.send(TOLD, self.board.snapshot())
            self._share()
            if self._winding_down:
                worker.channel.send("wind down")

        # A process was forked with the configuration.
        done = worker.channel.call("prepare", {} if worker.pid else {"config": self.config})
        done.addCallback(lambda _: worker.channel.call("commit"))
        return done.addCallback(ready)

    def _share(self) -> None:
        """Every socket is somebody's, and only one's, whoever has died or come."""
        serving = self.serving
        for place, worker in enumerate(serving):
            worker.channel.send("share", {"mine": place, "of": len(serving)})

    # When a worker ends.

    def _ended(self, worker: Handle, status: int) -> None:
        """Its process is no more."""
        if isinstance(worker.channel, Channel):
            worker.channel.doRead()  # what it said last
        worker.channel.close()
        for tell in self.when_ended:
            tell(worker)
        self._all.discard(worker)
        if self.workers.get(worker.number) is worker:
            del self.workers[worker.number]
        if worker.leaving or self._stopping is not None:
            _logger.debug("{worker} ended", worker=worker)
            worker.ended.callback(None)
            return
        now = self._reactor.seconds()
        steady = worker.ready_since is not None and now - worker.ready_since >= STEADY
        quick = self._quick[worker.number] = 0 if steady else self._quick.get(worker.number, 0) + 1
        beyond = quick - AT_ONCE
        delay = 0.0 if beyond <= 0 else min(LONGEST, 0.1 * 2.0 ** min(beyond, 20))
        _logger.error(
            "{worker} {why}; a new one follows {when}",
            worker=worker,
            why=cause(status),
            when=f"in {delay:.1f} s" if delay else "at once",
        )
        worker.ended.callback(None)
        self._share()
        self.restarts += 1
        self._delayed[worker.number] = self._reactor.callLater(delay, self._replace, worker.number)

    def _leaves(self, worker: Handle) -> None:
        """It was told to go (SIGTERM): it drains, and another takes its place at once."""
        if not worker.leaving and self._stopping is None:
            _logger.info("{worker} leaves", worker=worker)
            self._part(worker)
            self._share()
            self._delayed[worker.number] = self._reactor.callLater(0, self._replace, worker.number)

    def _part(self, worker: Handle) -> None:
        """Its end is meant, and its number free."""
        worker.leaving = True
        del self.workers[worker.number]

    def _replace(self, number: int) -> None:
        self._delayed.pop(number, None)

        def begin() -> Deferred[None]:
            if self._stopping is not None or number in self.workers or number > self._wanted:
                return succeed(None)
            return self._add(number)

        self._lock.run(begin)

    def _add(self, number: int) -> Deferred[None]:
        """One more worker; whoever does not come up is ended, and so replaced."""
        try:
            worker = self._spawn(number)
        except OSError as error:
            _logger.error("cannot make a worker: {why}", why=error.strerror)
            self._delayed[number] = self._reactor.callLater(1.0, self._replace, number)
            return succeed(None)
        done = self._bring_up(worker)
        done.addTimeout(PATIENCE, self._reactor)

        def failed(failure: Failure) -> None:
            if not failure.check(Lost):
                _logger.error("{worker}: {why}", worker=worker, why=str(failure.value))
                worker.kill()

        done.addCallbacks(
            lambda _: _logger.info("{worker} serves", worker=worker),
            failed,
        )
        return done

    @property
    def _wanted(self) -> int:
        return worker_count(self.config)

    # Changing.

    def reload(self, config: Config, fd: int, start: int = 0) -> Deferred[None]:
        """Serve another configuration, or fail with :class:`Refused` and change nothing.

        ``fd`` has the same configuration for other processes (:mod:`txrproxy.service.memory`).
        """
        return self._lock.run(self._reload, config, fd, start)

    def _reload(self, config: Config, fd: int, start: int) -> Deferred[None]:
        if self._stopping is not None:
            raise Refused("the proxy is stopping")
        count = worker_count(config)
        if bool(count) != bool(worker_count(self.config)):
            raise Refused("server.workers: a change from or to 0 needs a restart")
        change = Change(self._reactor, self.board, self.listeners, self.serving)

        def decided(_: object) -> Deferred[Any]:
            self.config = config
            self.generation += 1
            return change.commit(config.server.backlog)

        done = change.prepare(config, fd, start, max(1, count))
        return done.addCallback(decided).addCallback(lambda _: self._resize())

    def _resize(self) -> Deferred[None]:
        wanted = self._wanted
        if not wanted:
            return succeed(None)
        too_many = [worker for worker in self.workers.values() if worker.number > wanted]
        for worker in too_many:
            self._part(worker)
        self._share()
        for worker in too_many:
            worker.channel.send("leave")
        missing = [n for n in range(1, wanted + 1) if n not in self.workers | self._delayed]
        return DeferredList([self._add(number) for number in missing]).addCallback(lambda _: None)

    # Telling.

    def reopen(self) -> None:
        """Open access logs again."""
        self.broadcast("reopen")

    def status(self) -> Deferred[Body]:
        """What each worker is doing: those that serve, and those that are ``leaving``.

        Of those that are ``missing``, in how many seconds there is another one.
        """
        now = self._reactor.seconds()
        missing = [
            {"worker": number, "seconds": round(call.getTime() - now, 1)}
            for number, call in sorted(self._delayed.items())
        ]
        leaving = sorted((w for w in self._all if w.leaving), key=lambda w: (w.number, w.pid))

        def told(answers: Sequence[tuple[Handle, Body]]) -> Body:
            rows = [
                {"worker": worker.number, "pid": worker.pid or os.getpid(), **body}
                for worker, body in answers
            ]
            first = len(rows) - len(leaving)
            return {"workers": rows[:first], "leaving": rows[first:], "missing": missing}

        return self._ask([*self.serving, *leaving], "status").addCallback(told)

    def ask(
        self, topic: str, body: Body | None = None, timeout: float = ANSWER
    ) -> Deferred[list[tuple[Handle, Body]]]:
        """Call every worker that serves; fires with their answers.

        Of one that does not answer in time, or refuses, it is ``{"error": why}``.
        """
        return self._ask(self.serving, topic, body, timeout)

    def _ask(
        self, workers: list[Handle], topic: str, body: Body | None = None, timeout: float = ANSWER
    ) -> Deferred[list[tuple[Handle, Body]]]:
        calls = [w.channel.call(topic, body).addTimeout(timeout, self._reactor) for w in workers]
        done: Deferred[Any] = DeferredList(calls, consumeErrors=True)

        def told(results: Sequence[tuple[bool, Any]]) -> list[tuple[Handle, Body]]:
            bodies = [said if good else {"error": str(said.value)} for good, said in results]
            return list(zip(workers, bodies, strict=True))

        return done.addCallback(told)

    # Ending.

    def wind_down(self) -> None:
        """Serve on, but let clients hear that their connections end: soon nobody serves."""
        self._winding_down = True
        self.broadcast("wind down")

    def stop(self, succeeded: bool = False) -> Deferred[None]:
        """Accept no more, drain, and end every worker; fires when all are gone.

        ``succeeded`` says that another process accepts on the same sockets from now on: nothing has
        to be closed at once.
        """
        if self._stopping is not None:
            done: Deferred[None] = Deferred()
            self._stopping.chainDeferred(done)
            return done
        self._stopping = Deferred()
        for call in (*self._delayed.values(), *self._keys):
            call.cancel()
        self._delayed.clear()
        # A client that is told to go elsewhere must not be able to come back here: nobody drains
        # before nobody listens.
        deaf = []
        for worker in self._all:
            call = worker.channel.call("deafen").addTimeout(1.0, self._reactor)
            deaf.append(call.addErrback(lambda _: None))
        if succeeded:
            self.listeners.hand_over()
        else:
            self.listeners.close()
        DeferredList(deaf).addCallback(lambda _: self._drain(succeeded))
        return self._stopping

    def _drain(self, softly: bool) -> None:
        timeout = self.config.server.drain_timeout
        ends: list[Deferred[Any]] = []
        late = self._reactor.callLater(timeout + GRACE, self.abort)
        for worker in list(self._all):
            done: Deferred[Any] = worker.channel.call(
                "drain", {"timeout": timeout, "softly": softly}
            )
            if worker.pid:
                done.addErrback(lambda _: None)
                done.addCallback(self._dismiss, worker)
                ends.append(worker.ended)
            else:
                ends.append(done)

        def over(_: object) -> None:
            self.board.close()
            if late.active():
                late.cancel()
            assert self._stopping is not None
            self._stopping.callback(None)

        DeferredList(ends, consumeErrors=True).addCallback(over)

    @staticmethod
    def _dismiss(_: object, worker: Handle) -> None:
        worker.channel.send("leave")

    def abort(self) -> None:
        """End every worker now."""
        for worker in self._all:
            worker.kill()
            worker.channel.send("abort")  # to the one that can not be killed


def worker_count(config: Config) -> int:
    """How many processes ``server.workers`` asks for."""
    workers = config.server.workers
    return len(os.sched_getaffinity(0)) if workers == "auto" else workers


def _log(worker: Handle, body: Body) -> None:
    """An event that a worker has to tell of, in the log of this process."""
    values: Body = {"message": body["message"], "worker": worker}
    if body["traceback"]:
        values["log_failure"] = _Traceback(body["traceback"])
    logger = Logger(namespace=body["namespace"])
    logger.emit(LogLevel.lookupByName(body["level"]), "{worker}: {message}", **values)


@define
class _Traceback:
    """Of another process: what a log observer asks of a failure."""

    text: str

    def getTraceback(self) -> str:
        return self.text
