"""One configuration after another, in all processes of a proxy or in none.

The board, the listening sockets and every worker make what it means, beside what runs, and any of
them may refuse. When all have it ready, all put it in place, and nobody can refuse any more::

    Change(...).prepare(reading)   ──▶ the moment of decision ──▶   .commit()
              └── Refused: all of it is forgotten
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from txrproxy.config.schema import Config
from txrproxy.service.board import Board
from txrproxy.service.processes import Handle
from txrproxy.service.sockets import CannotListen, Group, Listeners
from txrproxy.transport.channel import Lost, Refused

PATIENCE = 60.0  # seconds for a worker to build a configuration

_logger = Logger()


class Change:
    """A change of ``workers``, those that serve when it begins."""

    def __init__(
        self, reactor: Any, board: Board, listeners: Listeners, workers: Sequence[Handle]
    ) -> None:
        self._reactor = reactor
        self._board = board
        self._listeners = listeners
        self._workers = workers
        self._groups: dict[str, Group] = {}

    def prepare(self, config: Config, fd: int, start: int, copies: int) -> Deferred[None]:
        """Have everything made; ``fd`` and ``start`` as of :func:`~.memory.unpacked`.

        ``copies`` is how many processes are to accept. Fails with :class:`Refused`, or raises it,
        and then nothing has changed.
        """
        found = self._board.prepare(config)
        try:
            self._groups = self._listeners.prepare(config, copies)
        except CannotListen as error:
            self._board.discard()
            raise Refused(str(error)) from error
        prepared = []
        for worker in self._workers:
            worker.give(self._groups)
            if worker.pid:
                call = worker.channel.call("prepare", {"start": start}, [fd])
            else:
                call = worker.channel.call("prepare", {"config": config})
            call.addTimeout(PATIENCE, self._reactor)
            prepared.append(call.addErrback(self._not_prepared, worker))
        done: Deferred[Any] = DeferredList(prepared, consumeErrors=True)
        if found is not None:
            done.addCallback(lambda results: found.addCallback(lambda _: results))
        return done.addCallback(self._decide)

    @staticmethod
    def _not_prepared(failure: Failure, worker: Handle) -> Failure:
        if failure.check(TimeoutError):
            raise Refused(f"{worker} took more than {PATIENCE:.0f} s to build it")
        return failure

    def _decide(self, results: Sequence[tuple[bool, Any]]) -> None:
        """All workers have built it, or somebody could not."""
        failures = [why.value for good, why in results if not good]
        # One that died meanwhile is replaced by one with the new configuration, unless it is the
        # configuration that they die of.
        if len(failures) < len(results) and all(isinstance(why, Lost) for why in failures):
            return
        for worker in self._workers:
            worker.channel.send("discard")
        self._listeners.forget(self._groups)
        self._board.discard()
        raise next((why for why in failures if not isinstance(why, Lost)), None) or Refused(
            "the workers died of it" if failures else "no worker is there to be reloaded"
        )

    def commit(self, backlog: int) -> Deferred[Any]:
        """Put it in place; fires when every worker has."""
        self._board.commit()
        known = set(self._listeners.groups)
        self._listeners.take(self._groups, backlog)
        for key, group in self._groups.items():
            if key not in known:
                _logger.info("listening on {address}", address=group.where)
        committed = []
        for worker in self._workers:
            call = worker.channel.call("commit").addTimeout(PATIENCE, self._reactor)
            committed.append(call.addErrback(self._not_committed, worker))
        return DeferredList(committed)

    @staticmethod
    def _not_committed(failure: Failure, worker: Handle) -> None:
        if not failure.check(Lost):
            _logger.error("{worker} did not change: {why}", worker=worker, why=str(failure.value))
            worker.kill()
