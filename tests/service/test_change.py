"""All or none: what happens when somebody refuses, dies, or is late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.service.test_plane import TEXT
from txrproxy.config.toml import loads
from txrproxy.service.board import Board
from txrproxy.service.change import PATIENCE, Change
from txrproxy.service.processes import Handle
from txrproxy.service.sockets import Listeners
from txrproxy.transport.channel import Lost, Refused, local_pair


class Worker:
    """One that answers ``prepare`` as it is told, and notes what is said to it."""

    def __init__(self, number: int) -> None:
        ours, theirs = local_pair()
        self.handle = Handle(number, ours, 0, 0.0)
        self.prepared: Deferred[None] = Deferred()
        self.committed: Deferred[None] = Deferred()
        self.said: list[str] = []
        self.sockets: list[int] = []
        theirs.register("prepare", lambda _: self._said("prepare") or self.prepared)
        theirs.register("commit", lambda _: self._said("commit") or self.committed)
        theirs.register("discard", lambda _: self._said("discard"))
        theirs.register("sockets", lambda body: self.sockets.extend(body["fds"]))

    def _said(self, topic: str) -> None:
        self.said.append(topic)


class ChangeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.told: list[str] = []
        self.board = Board(self.reactor, lambda topic, body: self.told.append(topic))
        self.listeners = Listeners()
        self.addCleanup(self.listeners.close)
        self.workers = [Worker(1), Worker(2)]
        handles = [worker.handle for worker in self.workers]
        self.change = Change(self.reactor, self.board, self.listeners, handles)

    def prepare(self) -> Deferred[None]:
        config = loads(TEXT, base=Path(self.mktemp()))
        done = self.change.prepare(config, -1, 0, 2)
        self.assertEqual([worker.said for worker in self.workers], [["prepare"]] * 2)
        return done

    def said(self) -> list[list[str]]:
        return [worker.said[1:] for worker in self.workers]

    def test_all(self) -> None:
        done = self.prepare()
        self.workers[0].prepared.callback(None)
        self.assertNoResult(done)
        self.workers[1].prepared.callback(None)
        self.successResultOf(done)
        self.assertEqual((self.said(), self.told), ([[], []], []))
        with capturedLogs() as logs:
            done = self.change.commit(10)
        self.assertIn("listening on 127.0.0.1:", formatEvent(logs[0]))
        self.assertEqual((self.said(), self.told), ([["commit"]] * 2, ["backends"] * 2))
        for worker in self.workers:
            worker.committed.callback(None)
        self.successResultOf(done)
        self.assertEqual(len(self.listeners.groups), 1)

    def refused(self, done: Deferred[None]) -> str:
        failure = self.failureResultOf(done, Refused)
        self.assertEqual((self.said(), self.told), ([["discard"]] * 2, []))
        self.assertEqual(self.listeners.groups, {})
        self.assertIsNone(self.board.backends)
        return str(failure.value)

    def test_one_refuses(self) -> None:
        done = self.prepare()
        self.workers[0].prepared.callback(None)
        self.workers[1].prepared.errback(Refused("no such module"))
        self.assertEqual(self.refused(done), "no such module")

    def test_one_dies(self) -> None:
        """Another takes its place, with the new configuration."""
        done = self.prepare()
        self.workers[0].prepared.errback(Lost("gone"))
        self.workers[1].prepared.callback(None)
        self.successResultOf(done)

    def test_all_die(self) -> None:
        done = self.prepare()
        for worker in self.workers:
            worker.prepared.errback(Lost("gone"))
        self.assertEqual(self.refused(done), "the workers died of it")

    def test_one_is_late(self) -> None:
        done = self.prepare()
        self.workers[0].prepared.callback(None)
        self.reactor.advance(PATIENCE)
        self.assertEqual(self.refused(done), "the main process took more than 60 s to build it")

    def test_nobody_is_there(self) -> None:
        change = Change(self.reactor, self.board, self.listeners, [])
        done = change.prepare(loads(TEXT, base=Path(self.mktemp())), -1, 0, 1)
        failure = self.failureResultOf(done, Refused)
        self.assertEqual(str(failure.value), "no worker is there to be reloaded")

    def test_one_does_not_commit(self) -> None:
        """That is a fault of ours: it is killed, to be replaced."""
        done = self.prepare()
        for worker in self.workers:
            worker.prepared.callback(None)
        self.successResultOf(done)
        with capturedLogs() as logs:
            done = self.change.commit(10)
            self.workers[0].committed.errback(Refused("oh"))
            self.workers[1].committed.errback(Lost("gone"))
        self.successResultOf(done)
        self.assertIn("the main process did not change: oh", [*map(formatEvent, logs)])
