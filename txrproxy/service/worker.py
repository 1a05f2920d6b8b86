"""A worker: a data plane that does what it is told over a channel.

In a process of its own it is forked from the main one (:func:`run`), with the reactor, the signals
and the descriptors of that one left behind. When the channel ends the main process is gone, and the
worker finishes what it has and goes as well.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import (
    FilteringLogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogPublisher,
)

from txrproxy.cache.link import Links
from txrproxy.config.schema import Config
from txrproxy.guards.state import State
from txrproxy.service.board import TOLD, Follower
from txrproxy.service.figures import Figures
from txrproxy.service.memory import unpacked
from txrproxy.service.plane import Plane
from txrproxy.service.processes import leave_behind
from txrproxy.transport.channel import AnyChannel, Body, Channel
from txrproxy.transport.reactor import after_fork

_logger = Logger()


class Worker:
    """The end of a channel that has a data plane. Topics, all from the main process::

    sockets   keys, indices, shared and fds: listening sockets
    prepare   fds and start (a configuration in memory), or config, or neither for the one that
              the process was forked with: answers when it is built
    commit, discard
    share     mine, of
    backends  what is known of backends; it answers "ejected" (:mod:`txrproxy.service.board`)
    wind down, deafen, drain (timeout, softly), abort, reopen, status
    pulse     answers at once: the loop turns (:mod:`txrproxy.service.pulse`)
    cache     for the stores of caches, in both directions: :mod:`txrproxy.cache.link`
    figures, pools   for metrics and the admin API: :mod:`txrproxy.service.figures`
    """

    def __init__(
        self,
        channel: AnyChannel,
        reactor: Any,
        inherited: Config | None = None,
        state: State | None = None,
        number: int = 1,
    ) -> None:
        follower = Follower(reactor.seconds, channel.send)
        self.links = Links(channel, reactor)
        self.plane = Plane(reactor, follower, state, self.links)
        self.figures = Figures(channel, reactor, self.plane, number)
        self.drain_timeout = 0.0
        self._inherited = inherited
        plane = self.plane
        topics: dict[str, Callable[[Body], Any]] = {
            "sockets": self._sockets,
            "prepare": self._prepare,
            "commit": self._commit,
            "discard": lambda _: plane.discard(),
            TOLD: follower.told,
            "share": lambda body: plane.share(body["mine"], body["of"]),
            "wind down": lambda _: plane.wind_down(),
            "deafen": lambda _: plane.deafen(),
            "drain": self._drain,
            "abort": lambda _: plane.abort(),
            "reopen": lambda _: plane.reopen(),
            "status": lambda _: plane.status(),
            "pulse": lambda _: None,
        }
        for topic, callback in topics.items():
            channel.register(topic, callback)

    def _sockets(self, body: Body) -> None:
        rows = zip(body["keys"], body["indices"], body["shared"], body["fds"], strict=True)
        for key, index, shared, fd in rows:
            self.plane.give(key, index, socket.socket(fileno=fd), shared)

    def _prepare(self, body: Body) -> Deferred[None] | None:
        config: Any = body.get("config") or self._inherited
        if body.get("fds"):
            # From the process that made this one, which could make it do anything anyway.
            (fd,) = body["fds"]
            config = unpacked(fd, body["start"])
            os.close(fd)
        return self.plane.prepare(config)

    def _commit(self, body: Body) -> None:
        self.plane.commit()
        assert self.plane.graph is not None
        self.drain_timeout = self.plane.graph.config.server.drain_timeout

    def _drain(self, body: Body) -> Deferred[None]:
        return self.plane.drain(body["timeout"], body["softly"])


def run(
    number: int,
    link: socket.socket,
    config: Config,
    sockets: Iterable[Body],
    state: State | None = None,
) -> None:
    """Be worker ``number``, in a process that was just forked; does not return.

    ``link`` is our end of the channel; ``sockets`` are messages of that topic, with ``fds``;
    ``state`` is where limits count.
    """
    status = 70  # EX_SOFTWARE
    try:
        gc.freeze()  # garbage of the main process may hold descriptors, which are ours by now
        messages = list(sockets)
        leave_behind([link.fileno(), *(fd for body in messages for fd in body["fds"])])
        _name(f"txrproxy {number}")
        if config.server.cpu_affinity:
            cpus = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cpus[(number - 1) % len(cpus)]})
        reactor = after_fork()
        status = _serve(number, reactor, link, config, messages, state)
    except BaseException:
        # There may be no log yet, or no longer.
        os.write(2, traceback.format_exc().encode())
    finally:
        # Not sys.exit: what the main process planned for its own end is not for us to do.
        os._exit(status)


def _serve(
    number: int,
    reactor: Any,
    link: socket.socket,
    config: Config,
    messages: list[Body],
    state: State | None,
) -> int:
    def drain() -> None:
        worker.plane.drain(worker.drain_timeout, softly=True).addBoth(lambda _: stop())

    def stop() -> None:
        worker.figures.tell()
        globalLogPublisher.removeObserver(log.observer)
        channel.close()
        if reactor.running:
            reactor.stop()

    def leave() -> None:
        channel.send("leaving")  # another takes our place meanwhile
        drain()

    def orphaned() -> None:
        log.channel = None
        worker.links.lost()
        _logger.critical("the main process is gone; finishing")
        drain()

    channel = Channel(reactor, link, orphaned)
    log = _Forwarder(channel, config.log.error.level)
    globalLogPublisher.addObserver(log.observer)
    channel.register("log level", lambda body: log.set_level(body["level"]))
    worker = Worker(channel, reactor, config, state, number)
    channel.register("leave", lambda _: drain())
    for body in messages:
        worker._sockets({**body, "fds": list(map(os.dup, body["fds"]))})
        for fd in body["fds"]:
            os.close(fd)

    def begin() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes
        signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(leave))

    reactor.callWhenRunning(begin)
    reactor.run()
    return 0


class _Forwarder:
    """Sends log events to the main process, which writes them; on standard error without it."""

    def __init__(self, channel: Channel, level: str) -> None:
        self.channel: Channel | None = channel
        self._severe = LogLevelFilterPredicate()
        self.set_level(level)
        take: Any = self._take
        severe: Any = self._severe
        self.observer: Any = FilteringLogObserver(take, [severe])

    def set_level(self, level: str) -> None:
        """Send what is at least as severe, and no less than the main process may want to write."""
        least = LogLevel.debug if level == "debug" else LogLevel.info
        self._severe.setLogLevelForNamespace("", least)

    def _take(self, event: LogEvent) -> None:
        failure: Any = event.get("log_failure")
        trace = failure.getTraceback() if failure is not None else ""
        message = formatEvent(event)
        if self.channel is None:
            print(message, trace, sep="\n", end="", file=sys.__stderr__, flush=True)
            return
        level: Any = event.get("log_level", LogLevel.info)
        self.channel.send(
            "log",
            {
                "level": level.name,
                "namespace": event.get("log_namespace", "-"),
                "message": message,
                "traceback": trace,
            },
        )


def _name(text: str) -> None:
    """What ps and top call this process."""
    try:
        with open("/proc/self/comm", "w", encoding="utf-8") as comm:
            comm.write(text)
    except OSError:
        pass  # for the eye alone
