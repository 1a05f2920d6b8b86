"""What is known of backends, in messages; ``tests/scenarios/test_sharing.py`` has the processes.

A board and two followers are in this process. What they say waits until a test lets it arrive.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.balance.backend import Backend
from txrproxy.balance.pool import Pool
from txrproxy.config.backends import Backends, build_backends
from txrproxy.config.toml import loads
from txrproxy.service import board
from txrproxy.service.board import EJECTIONS, MAX_WEIGHT, TOLD, Board, Follower
from txrproxy.transport.channel import Body, Refused

TEXT = """\
version = 1
[listeners.http]
bind = ["127.0.0.1:0"]
[pools.app]
backends = ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3", "http://127.0.0.1:4"]
outlier = { consecutive_errors = 1, eject = "10s" }
%s
[[routes]]
name = "all"
pool = "app"
"""
HEALTH = "health = {}\n"


class _Worker:
    """A follower, the pools that it follows for, and what it has said."""

    def __init__(self, reactor: Any, hear: Callable[[Body], object], number: int) -> None:
        self.reactor = reactor
        self.backends: Backends | None = None
        self.said: deque[Body] = deque()
        self.inbox: deque[Body] = deque()
        self._hear = hear
        self.follower = Follower(reactor.seconds, self._send, number)

    def _send(self, topic: str, body: Body) -> None:
        assert topic == EJECTIONS
        self.said.append(json.loads(json.dumps(body)))

    def use(self, config: Any) -> None:
        # Its checks are never started: that is what tells it from the board's.
        self.backends = build_backends(config, self.reactor, self.backends, self.follower.hear)
        self.follower.use(self.backends.pools)

    @property
    def pool(self) -> Pool:
        assert self.backends is not None
        return self.backends.pools["app"]

    def backend(self, number: int) -> Backend:
        return self.pool.backends[number]

    def speak(self) -> None:
        while self.said:
            self._hear(self.said.popleft())

    def listen(self) -> None:
        while self.inbox:
            self.follower.told(self.inbox.popleft())


class Case(SynchronousTestCase):
    text = TEXT % ""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.reactor.advance(1000)
        self.base = Path(self.mktemp())
        self.numbers = 0
        self.workers: list[_Worker] = []
        self.board = Board(self.reactor, self.broadcast)
        self.addCleanup(self.board.close)
        self.change(self.text)
        self.workers = [self.worker(), self.worker()]
        self.hear()

    def broadcast(self, topic: str, body: Body) -> None:
        self.assertEqual(topic, TOLD)
        for worker in self.workers:
            worker.inbox.append(json.loads(json.dumps(body)))

    def change(self, text: str) -> None:
        self.config = loads(text, base=self.base)
        self.board.prepare(self.config)
        self.board.commit()
        for worker in self.workers:
            worker.listen()
            worker.use(self.config)

    def worker(self) -> _Worker:
        """One that has just come."""
        self.numbers += 1
        worker = _Worker(self.reactor, self.board.hear, self.numbers)
        worker.use(self.config)
        worker.inbox.append(json.loads(json.dumps(self.board.snapshot())))
        return worker

    def hear(self) -> None:
        """Let all that was said arrive."""
        while any(worker.said or worker.inbox for worker in self.workers):
            for worker in self.workers:
                worker.speak()
                worker.listen()

    @property
    def pool(self) -> Pool:
        assert self.board.backends is not None
        return self.board.backends.pools["app"]

    @property
    def everywhere(self) -> list[Pool]:
        return [self.pool, *(worker.pool for worker in self.workers)]

    def assert_out(self, *numbers: int) -> None:
        for pool in self.everywhere:
            out = [number for number, b in enumerate(pool.backends) if b.ejected]
            self.assertEqual(out, list(numbers))

    def fails(self, worker: _Worker, number: int) -> None:
        worker.pool.failed(worker.backend(number), self.reactor.seconds())


class ChangeTests(Case):
    def test_what_is_the_same_is_left_alone(self) -> None:
        """Of a thousand pools, a reload has changed one: the others cost nothing."""
        (one, _), before = self.workers, self.workers[0].pool
        with mock.patch.object(Pool, "at_once", autospec=True, side_effect=Pool.at_once) as obeyed:
            self.change(self.text)
            self.hear()
            self.assertIs(one.pool, before)
            obeyed.assert_not_called()
            self.change(self.text.replace("10s", "20s"))
            self.hear()
        self.assertIsNot(one.pool, before)
        self.assertEqual([call.args[0] for call in obeyed.mock_calls].count(one.pool), 1)


class EjectionTests(Case):
    def test_told_to_all(self) -> None:
        one, other = self.workers
        self.fails(one, 2)
        self.assertEqual(len(one.said), 1)
        self.hear()
        self.assert_out(2)
        until = {pool.backends[2].ejected_until for pool in self.everywhere}
        self.assertEqual(until, {1010.0})
        self.reactor.advance(10)
        self.assertIsNot(other.pool.select((), b"", 1010.0), other.backend(2))
        self.assertIs(one.pool.select((), b"", 1010.0), one.backend(2))
        one.pool.succeeded(one.backend(2), 1010.0)
        self.hear()
        self.assert_out()

    def test_whose_the_trial_is(self) -> None:
        """Of who said so last; everybody's, once that had its time, or if it is gone."""
        one, other = self.workers
        self.fails(one, 2)
        self.reactor.advance(1)
        self.fails(other, 2)
        self.hear()
        trials = [worker.backend(2).trial_at for worker in self.workers]
        self.assertEqual(trials, [1021.0, 1011.0])
        self.workers.append(self.worker())
        self.hear()
        self.assertEqual(self.workers[2].backend(2).trial_at, 1021.0)
        self.change(self.text.replace('"10s"', '"20s"'))
        self.hear()
        self.assertEqual([w.backend(2).trial_at for w in self.workers], [1021.0, 1011.0, 1021.0])
        self.reactor.advance(20)
        self.assertIs(one.pool.select((), b"", 1021.0), one.backend(2))
        one.pool.succeeded(one.backend(2), 1021.0)
        self.hear()
        self.assert_out()

    def test_what_is_known_of_trials_is_bounded(self) -> None:
        self.patch(board, "MAX_TRIALS", 2)
        for number in (0, 1):
            self.fails(self.workers[0], number)
        self.hear()
        self.assert_out(0, 1)
        for number in (0, 1):
            backend = self.workers[0].backend(number)
            self.workers[0].pool.obey(backend, None, 0, 1000.0)
            self.workers[0].pool.eject(backend, 1001.0)
        self.hear()
        self.assert_out(0, 1)
        self.assertEqual(len(self.board._trials), 2)

    def test_nothing_is_said_twice(self) -> None:
        """What was told is not told on."""
        self.fails(self.workers[0], 2)
        self.workers[0].speak()
        for worker in self.workers:
            worker.listen()
            self.assertEqual(len(worker.said), 0)

    def test_never_too_many(self) -> None:
        """Each finds others bad at the same time: half of all may be out, not half in each."""
        one, other = self.workers
        self.fails(one, 0)
        self.fails(one, 1)
        self.fails(other, 2)
        self.fails(other, 3)
        self.hear()
        self.assert_out(0, 1)

    def test_both_at_once(self) -> None:
        """One takes it back while the other leaves it out again: all end with the same."""
        one, other = self.workers
        self.fails(one, 1)
        self.hear()
        self.reactor.advance(20)
        now = self.reactor.seconds()
        for worker in (one, other):
            worker.pool.select((), b"", now)
        one.pool.succeeded(one.backend(1), now)
        self.fails(other, 1)
        self.hear()
        self.assert_out(1)
        self.assertEqual({p.backends[1].ejections for p in self.everywhere}, {2})

    def test_a_new_worker_knows(self) -> None:
        self.fails(self.workers[0], 3)
        self.hear()
        self.workers.append(self.worker())
        self.hear()
        self.assert_out(3)

    def test_strangers(self) -> None:
        for pool, backend in (("app", "127.0.0.1:9"), ("no", "127.0.0.1:1")):
            body = {"pool": pool, "backend": backend, "until": 2000.0, "ejections": 1}
            self.board.hear(body)
        self.hear()
        self.assert_out()

    def test_a_pool_that_does_not_serve_yet(self) -> None:
        """A configuration that is only prepared says nothing."""
        (worker, _) = self.workers
        spare = build_backends(self.config, self.reactor, None, worker.follower.hear)
        spare.pools["app"].failed(spare.pools["app"].backends[0], 1000.0)
        self.assertEqual(len(worker.said), 0)
        self.board.prepare(loads(self.text + "# changed\n", base=Path("/")))
        self.board.discard()
        self.assert_out()


class WantedTests(Case):
    name = "127.0.0.1:2"

    def states(self) -> list[tuple[str, int]]:
        return [(p.backends[1].state.value, p.backends[1].weight) for p in self.everywhere]

    def test_state_and_weight(self) -> None:
        self.assertEqual(self.board.set("app", self.name, "drain")["state"], "drain")
        self.board.set("app", self.name, weight=5)
        self.hear()
        self.assertEqual(self.states(), [("drain", 5)] * 3)
        self.board.set("app", self.name, "up")
        self.workers.append(self.worker())
        self.hear()
        self.assertEqual(self.states(), [("up", 5)] * 4)

    def test_holds_over_a_reload(self) -> None:
        self.board.set("app", self.name, "down", 7)
        self.change(self.text.replace('"10s"', '"20s"'))
        self.hear()
        self.assertEqual(self.states(), [("down", 7)] * 3)

    def test_until_the_backend_leaves(self) -> None:
        self.board.set("app", self.name, "down", 7)
        self.change(self.text.replace('"http://127.0.0.1:2", ', ""))
        self.change(self.text)
        self.hear()
        self.assertEqual(self.states(), [("up", 1)] * 3)
        self.assertEqual(self.board.wanted(), {"app": {}})

    def test_refused(self) -> None:
        for words, why in (
            (("no", self.name, "up"), "no pool named no; there are: app"),
            (("app", "127.0.0.1:9", "up"), "no backend"),
            (("app", self.name, "sideways"), "not up, drain or down"),
            (("app", self.name, ["up"]), "not up, drain or down"),
            (("app", self.name, None, -1), "not a number from 0"),
            (("app", self.name, None, True), "not a number from 0"),
            (("app", self.name, None, MAX_WEIGHT + 1), "not a number from 0"),
        ):
            failed: Any = self.assertRaises(Refused, self.board.set, *words)
            self.assertIn(why, str(failed))
        self.assertEqual(self.board.wanted(), {})

    def test_goes_on_in_another_process(self) -> None:
        self.board.set("app", self.name, "drain", 3)
        self.board.set("app", "127.0.0.1:1", "drain")
        self.board.set("app", "127.0.0.1:1", "up")
        wanted = json.loads(json.dumps(self.board.wanted()))
        self.assertEqual(wanted, {"app": {self.name: {"state": "drain", "weight": 3}}})
        self.board = Board(self.reactor, self.broadcast)
        self.addCleanup(self.board.close)
        self.board.want(wanted)
        self.change(self.text)
        self.hear()
        self.assertEqual(self.states(), [("drain", 3)] * 3)


class HealthTests(Case):
    text = TEXT % HEALTH

    def healthy(self) -> list[list[bool | None]]:
        return [[backend.healthy for backend in pool.backends] for pool in self.everywhere]

    def test_verdicts(self) -> None:
        self.assertEqual(self.healthy(), [[None] * 4] * 3)
        for number, well in ((0, True), (1, False), (2, True)):
            self.pool.set_health(self.pool.backends[number], well, 1000.0)
        self.hear()
        self.assertEqual(self.healthy(), [[True, False, True, None]] * 3)
        self.workers.append(self.worker())
        self.hear()
        self.assertEqual(self.healthy()[-1], [True, False, True, None])

    def test_ready(self) -> None:
        """Workers are ready when every backend was asked, or had its time for that."""
        (worker, _) = self.workers
        ready = worker.follower.ready()
        self.assertNoResult(ready)
        self.reactor.advance(3)
        self.hear()
        self.successResultOf(ready)
        self.successResultOf(worker.follower.ready())
        late = self.worker()
        late.listen()
        self.successResultOf(late.follower.ready())

    def test_a_reload_before_that(self) -> None:
        """The first checks are those of another configuration by then."""
        self.change(self.text.replace("health = {}", 'health = { path = "/" }'))
        self.reactor.advance(3)
        self.hear()
        self.successResultOf(self.workers[0].follower.ready())

    def test_told_before_it_serves(self) -> None:
        """A worker keeps what it hears of pools that it is only about to have."""
        (worker, _) = self.workers
        worker.follower.told({"pools": {"new": {"127.0.0.1:1": {"state": "drain"}}}})
        self.config = loads(self.text.replace("app", "new"), base=self.base)
        worker.use(self.config)
        assert worker.backends is not None
        state = worker.backends.pools["new"].backends[0].state
        self.assertEqual((state.value, list(worker.follower._rows)), ("drain", ["new"]))

    def test_report(self) -> None:
        self.board.set("app", "127.0.0.1:2", "drain", 3)
        self.pool.obey(self.pool.backends[2], 1007.5, 1, 1000.0)
        self.reactor.pump([0.1] * 30)
        (pool,) = self.board.report()
        self.assertEqual((pool["name"], pool["panic"]), ("app", False))
        row = {"state": "up", "weight": 1, "priority": 0, "healthy": None, "ejected": None}
        checks = [backend.pop("check") for backend in pool["backends"]]
        self.assertEqual(
            pool["backends"],
            [
                {**row, "name": "127.0.0.1:1"},
                {**row, "name": "127.0.0.1:2", "state": "drain", "weight": 3},
                {**row, "name": "127.0.0.1:3", "ejected": 4.5},
                {**row, "name": "127.0.0.1:4"},
            ],
        )
        self.assertEqual({check["text"] for check in checks}, {"timed out after 2 s"})

    def test_nothing_yet(self) -> None:
        board = Board(self.reactor, self.broadcast)
        self.assertEqual(board.report(), [])
        self.assertRaises(Refused, board.set, "app", "127.0.0.1:1")
        board.close()


class MemberTests(Case):
    """Members of a pool come and go, here earlier than there."""

    def test_known_before_it_is_there(self) -> None:
        (worker, _) = self.workers
        self.board.set("app", "127.0.0.1:2", "drain", 3)
        self.fails(self.workers[1], 2)
        away = worker.pool.backends
        worker.pool.replace(away[:1], 1000.0)
        self.hear()
        self.assertEqual(away[1].state.value, "up")
        worker.pool.replace(away, 1000.0)
        self.assertEqual((away[1].state.value, away[1].weight), ("drain", 3))
        self.assert_out(2)

    def test_the_board_tells_again(self) -> None:
        members = self.pool.backends
        self.board.set("app", "127.0.0.1:2", "drain")
        self.pool.replace(members[:1], 1000.0)
        self.hear()
        (worker, _) = self.workers
        self.assertEqual(list(worker.follower._rows["app"]), ["127.0.0.1:1"])
        self.assertEqual(self.board.wanted(), {"app": {}})
        self.pool.replace(members, 1000.0)
        self.hear()
        self.assertEqual(len(worker.follower._rows["app"]), 4)
