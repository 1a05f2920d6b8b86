"""The data plane of one process: a graph of live objects, and the sockets it accepts from.

It changes in two steps, so that several processes change together or not at all: ``prepare``
builds what a new configuration means, beside what runs and a little at a time, and can fail;
``commit`` puts it in place, and can not.
"""

from __future__ import annotations

import gc
import os
import resource
import socket
from typing import Any

from attrs import define
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from txrproxy.cache.link import Links
from txrproxy.config.build import build_in_steps
from txrproxy.config.graph import Graph
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.schema import Config
from txrproxy.config.steps import Steps, finish
from txrproxy.guards.state import State
from txrproxy.observe.accesslog import open_log
from txrproxy.observe.counts import Counts
from txrproxy.service.board import Follower
from txrproxy.service.slices import in_slices, uncollected
from txrproxy.service.sockets import addresses
from txrproxy.transport.channel import Refused
from txrproxy.transport.listening import ELSEWHERE, UNREADY, Listening

_logger = Logger()

_POLL = 0.05  # seconds between two looks at what still drains
_LAST = 1.0  # seconds beyond the timeout of a soft drain, for idle connections to close in order


@define
class _Socket:
    sock: socket.socket
    shared: bool  # every process accepts from it
    port: Listening | None = None


class Plane:
    """Serves nothing until it was given a configuration, sockets and a share of them.

    ``follower`` hears how the backends are, which nobody here asks. ``state`` is where limits
    count. ``links`` lead to who owns the folders of caches, if that is not this process.
    """

    def __init__(
        self,
        reactor: Any,
        follower: Follower,
        state: State | None = None,
        links: Links | None = None,
    ) -> None:
        self.graph: Graph | None = None
        self.counts = Counts()
        self._reactor = reactor
        self._follower = follower
        self._state = state
        self._links = links
        self._next: Graph | None = None
        self._building: Deferred[Any] | None = None
        self._sockets: dict[tuple[str, int], _Socket] = {}
        self._share = (0, 0)  # which part of how many is ours
        self._deaf = False
        self._unready = True  # the first checks of backends have not ended
        self._draining: Deferred[None] | None = None
        self._deadline = 0.0  # of draining
        self._soft = False
        self._began = 0.0  # the same
        self._carried = 0  # exchanges at that time
        self._started = reactor.seconds()

    # Changing.

    def give(self, key: str, index: int, sock: socket.socket, shared: bool) -> None:
        """A listening socket, one of those under ``key`` (:func:`addresses`); it becomes ours."""
        old = self._sockets.get((key, index))
        if old is not None:  # known already: it may be shared from now on, or no longer
            sock.close()
            old.shared = shared
        else:
            self._sockets[key, index] = _Socket(sock, shared)

    def prepare(self, config: Config | Steps[Config]) -> Deferred[Any] | None:
        """Build what it means, or fail with :class:`Refused`, and then nothing has changed.

        In a process that serves it is done in slices, and the names of backends are looked up
        before it is done.
        """
        self._forget()
        steps = self._made(config)
        if self.graph is None:
            with uncollected():
                return self._built(finish(steps))
        self._building = in_slices(steps, self._reactor)
        return self._building.addCallbacks(self._built, _given_up)

    def _made(self, config: Config | Steps[Config]) -> Steps[Graph]:
        if not isinstance(config, Config):
            config = yield from config
        old = self.graph
        try:
            log = self._log(config)
        except OSError as error:
            path = config.log.access.path
            raise Refused(f"cannot write the access log {path}: {error.strerror}") from error
        try:
            return (
                yield from build_in_steps(
                    config,
                    self._reactor,
                    log,
                    old=old,
                    checks=False,
                    state=self._state,
                    tell=self._follower.hear,
                    links=self._links,
                )
            )
        except BaseException as error:
            if old is None or log is not old.log:
                log.close()
            if isinstance(error, ConfigErrors):
                raise Refused(str(error)) from error
            raise

    def _built(self, graph: Graph) -> Deferred[Any] | None:
        self._building = None
        self._next = graph
        return graph.find_names() if self._reactor.running else None

    def _log(self, config: Config) -> Any:
        access, old = config.log.access, self.graph
        path = access.path if access.path == "-" else str(config.resolve(access.path))
        if old is not None and _log_of(old.config) == _log_of(config):
            return old.log
        count = self.counts.add if _is_counted(config) else None
        return open_log(path, access.format, access.redact, self._reactor, count)

    def discard(self) -> None:
        """Forget what was prepared, and the sockets that came for it."""
        self._forget()
        for place, each in list(self._sockets.items()):
            if each.port is None:
                self._close(each)
                del self._sockets[place]

    def _forget(self) -> None:
        building, self._building = self._building, None
        if building is not None:
            building.cancel()
        new, self._next = self._next, None
        if new is not None:
            new.discard(self.graph)
            new.caches.discard(None if self.graph is None else self.graph.caches)
        if new is not None and (self.graph is None or new.log is not self.graph.log):
            new.log.close()

    def commit(self) -> None:
        """Put what was prepared in place: from now on it serves."""
        new, old = self._next, self.graph
        assert new is not None
        self._next = None
        if old is None:
            new.start()
        else:
            new.take_over(old)
            if old.log is not new.log:
                old.log.close()
        self.graph = new
        self._follower.use(new.pools)
        if self._unready:
            ready = gatherResults([new.ready(), self._follower.ready()])
            ready.addCallback(self._be_ready)
        self._listen(new)
        # What exists now lives long: the collector need not look at it again. A collection of all
        # there is would hold up connections; what a reload replaces goes without one, for trees and
        # plans have no cycles.
        gc.freeze()
        gc.set_threshold(10_000, 20, 50)
        if old is not None:
            in_slices(old.take_apart(), self._reactor)

    def _be_ready(self, _: Any) -> None:
        """Enough is known of the backends: until now, who came has waited in the backlog."""
        self._unready = False
        for each in self._sockets.values():
            if each.port is not None:
                each.port.release(UNREADY)

    def _listen(self, graph: Graph) -> None:
        keys = [key for key, _ in addresses(graph.config)]
        sites = dict(zip(keys, (site for _, site in graph.sites), strict=True))
        for (key, index), each in list(self._sockets.items()):
            site = sites.get(key)
            if site is None:
                self._close(each)
                del self._sockets[key, index]
            elif each.port is not None:
                each.port.factory = site
            elif not self._deaf:
                each.port = Listening(each.sock, site, self._reactor)
                each.port.hold(ELSEWHERE)
                if self._unready:
                    each.port.hold(UNREADY)
                each.port.start()
                graph.limit.add(each.port)
        self.share(*self._share)

    def share(self, mine: int, of: int) -> None:
        """Accept from our part of the sockets, if ``of`` processes share them; 0 for none."""
        self._share = (mine, of)
        for (_, index), each in self._sockets.items():
            if each.port is not None:
                each.port.shared = each.shared and of > 1
                if of and (each.shared or index % of == mine):
                    each.port.release(ELSEWHERE)
                else:
                    each.port.hold(ELSEWHERE)

    def _close(self, each: _Socket) -> None:
        if each.port is not None:
            each.port.close()
            assert self.graph is not None
            self.graph.limit.remove(each.port)
            each.port = None
        each.sock.close()

    def reopen(self) -> None:
        """Open the files of logs again: they were moved away."""
        if self.graph is not None:
            self.graph.reopen()

    def status(self) -> dict[str, Any]:
        """What this process is doing; ``rss`` in bytes, ``uptime`` in seconds."""
        return {
            "pid": os.getpid(),
            "uptime": round(self._reactor.seconds() - self._started, 1),
            "connections": self.graph.busy if self.graph is not None else 0,
            "rss": resident(),
        }

    # Ending.

    def wind_down(self) -> None:
        """Serve on, and accept; but each response is the last of its connection, and says so."""
        if self.graph is not None and self._draining is None:
            self.graph.drain(softly=True)

    def deafen(self) -> None:
        """Accept no more."""
        self._deaf = True
        for each in self._sockets.values():
            self._close(each)
        self._sockets.clear()

    def drain(self, timeout: float, softly: bool = False) -> Deferred[None]:
        """Close what is idle, and the rest after its exchange or ``timeout`` seconds; then fires.

        The access log is written by then. ``softly``, for when others go on serving, leaves what is
        idle until it has asked once more, or to the timeout.
        """
        self.deafen()
        done: Deferred[None] = Deferred()
        if self.graph is None:
            done.callback(None)
        elif self._draining is not None:
            self._draining.chainDeferred(done)
            if self._soft and not softly:  # nobody goes on serving, after all
                self._soft = False
                self._deadline = min(self._deadline, self._reactor.seconds() + timeout)
                self.graph.drain()
        else:
            self._draining = done
            self._deadline = self._reactor.seconds() + timeout
            self._soft = softly
            self._began = self._reactor.seconds()
            self._carried = _carried(self.graph)
            self.graph.drain(softly)
            self._wait(self.graph)
        return done

    def abort(self) -> None:
        """Drain no longer."""
        self._soft = False
        self._deadline = 0.0

    def _wait(self, graph: Graph) -> None:
        if graph.busy and self._reactor.seconds() < self._deadline:
            self._reactor.callLater(_POLL, self._wait, graph)
            return
        if graph.busy and self._soft:
            self._soft = False
            graph.drain()
            self._deadline += _LAST
            self._wait(graph)
            return
        cut = _carried(graph)
        if graph.busy:
            _logger.warn("{count} connections cut at the drain timeout", count=graph.busy)
            graph.abort()
        _logger.info(
            "drained in {seconds:.1f} s: {carried} exchanges were in progress, {cut} were cut",
            seconds=self._reactor.seconds() - self._began,
            carried=self._carried,
            cut=cut,
        )
        assert self._draining is not None
        closed = graph.close()
        closed.addCallback(lambda _: graph.log.close())
        closed.chainDeferred(self._draining)


def _given_up(failure: Failure) -> Failure:
    """What was being built is not wanted any more: another one is, or none."""
    if failure.check(CancelledError):
        raise Refused("another configuration has come instead")
    return failure


def _is_counted(config: Config) -> bool:
    """Whether anybody may ask for metrics."""
    return config.admin is not None and config.admin.metrics


def _carried(graph: Graph) -> int:
    """Exchanges in progress, tunnels included."""
    return sum(site.carried for site in graph.listeners.values())


def _log_of(config: Config) -> tuple[Any, ...]:
    """What the access log is made of."""
    return config.log.access, config.base, _is_counted(config)


def resident() -> int:
    """Bytes of this process in memory; the most there were, where no descriptor is left to ask."""
    try:
        with open("/proc/self/statm", encoding="utf-8") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
