"""The data plane in one process, without sockets of its own making."""

from __future__ import annotations

import builtins
import errno
import gc
import os
import socket
import weakref
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from tests.service.test_memory import packed
from txrproxy.config.schema import Config
from txrproxy.config.toml import loads
from txrproxy.service import slices
from txrproxy.service.board import Follower
from txrproxy.service.memory import unpacked
from txrproxy.service.plane import Plane, resident
from txrproxy.service.sockets import Listeners
from txrproxy.transport.channel import Refused

LOG = '[log]\naccess = { format = "off" }\n'
TEXT = MINIMAL.replace("127.0.0.1:8080", "127.0.0.1:0") + LOG
TEXT = TEXT.replace("0.0.0.0:80", "127.0.0.1:0")


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.listeners = Listeners()
        self.addCleanup(self.listeners.close)
        self.follower = Follower(self.reactor.seconds, lambda topic, body: None)
        self.follower.told({"ready": True})
        self.plane = Plane(self.reactor, self.follower)
        self.addCleanup(self.plane.deafen)

    def config(self, more: str = "") -> Config:
        return loads(TEXT + more, base=Path(self.mktemp()))

    def give(self, config: Config, copies: int = 1) -> None:
        groups = self.listeners.prepare(config, copies)
        self.listeners.take(groups, 10)
        for key, group in groups.items():
            for index, sock in enumerate(group.sockets):
                self.plane.give(key, index, sock.dup(), group.shared)

    def prepared(self, config: Config) -> Any:
        """What a plane that serves says of another configuration, when it has built it."""
        done = self.plane.prepare(config)
        self.reactor.advance(0)
        return done

    def reading(self) -> list[int]:
        places = list(self.plane._sockets)
        return [
            index
            for (_, index), each in zip(places, self.plane._sockets.values(), strict=True)
            if each.port in self.reactor.getReaders()
        ]


ROUTES = "".join(
    f'[[routes]]\nname = "r{n}"\nmatch = {{ path = "/{n}" }}\nrespond = {{ status = 200 }}\n'
    for n in range(100)
)


class SliceTests(Case):
    """A clock that stands still and slices of no length: every turn takes one step."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(gc.unfreeze)
        self.patch(slices, "SLICE", 0.0)
        config = self.config()
        self.give(config)
        self.plane.prepare(config)  # nobody is served yet: this one is built at once
        self.plane.commit()

    def turns(self) -> int:
        """How many it takes until nothing is left to do."""
        turns = 0
        while self.reactor.getDelayedCalls():
            self.reactor.advance(slices.PAUSE)
            turns += 1
        return turns

    def test_each_route_is_a_step(self) -> None:
        """What there is serves all the while."""
        old = self.plane.graph
        fd = packed(self.config(ROUTES))
        self.addCleanup(os.close, fd)
        done: Any = self.plane.prepare(unpacked(fd))
        self.assertNoResult(done)
        self.assertGreater(self.turns(), 100 + 100 / 8)  # they are unpacked, too
        self.assertIs(self.plane.graph, old)
        self.successResultOf(done)
        self.plane.commit()
        self.assertIsNot(self.plane.graph, old)

    def test_what_is_replaced_goes_in_steps(self) -> None:
        done: Any = self.plane.prepare(self.config(ROUTES))
        self.turns()
        self.successResultOf(done)
        self.plane.commit()
        assert self.plane.graph is not None
        plans = [weakref.ref(plan.serve) for _, plan in self.plane.graph.routes[-100:]]
        self.turns()
        done = self.plane.prepare(self.config())
        self.turns()
        self.plane.commit()
        self.assertEqual(sum(plan() is not None for plan in plans), 100)
        self.turns()
        self.assertEqual(sum(plan() is not None for plan in plans), 0)

    def test_another_one_comes_meanwhile(self) -> None:
        first: Any = self.plane.prepare(self.config(ROUTES))
        for _ in range(10):
            self.reactor.advance(slices.PAUSE)
        second: Any = self.plane.prepare(self.config())
        self.failureResultOf(first, Refused)
        self.turns()
        self.successResultOf(second)
        self.plane.commit()
        assert self.plane.graph is not None
        self.assertEqual(len(self.plane.graph.routes), len(self.config().routes))

    def test_discarded_meanwhile(self) -> None:
        old = self.plane.graph
        done: Any = self.plane.prepare(self.config(ROUTES))
        self.reactor.advance(slices.PAUSE)
        self.plane.discard()
        self.failureResultOf(done, Refused)
        self.assertEqual(self.turns(), 0)
        self.assertIs(self.plane.graph, old)


class PlaneTests(Case):
    def test_shares(self) -> None:
        """Every socket is somebody's, whatever the number of processes."""
        config = self.config()
        self.give(config, 3)
        self.plane.prepare(config)
        self.plane.commit()
        self.assertEqual(self.reading(), [])
        for mine, of, expected in ((0, 1, [0, 1, 2]), (0, 2, [0, 2]), (1, 2, [1]), (2, 3, [2])):
            self.plane.share(mine, of)
            self.assertEqual(self.reading(), expected)
        self.plane.share(0, 0)
        self.assertEqual(self.reading(), [])

    def test_refused(self) -> None:
        config = self.config()
        self.give(config)
        self.plane.prepare(config)
        self.plane.commit()
        graph = self.plane.graph
        bad = self.config('[[routes]]\nname = "r"\nresource = "no_such_module:x"\n')
        self.failureResultOf(self.prepared(bad), Refused)
        self.assertIs(self.plane.graph, graph)

    def test_refused_at_the_start(self) -> None:
        bad = self.config('[[routes]]\nname = "r"\nresource = "no_such_module:x"\n')
        self.assertRaises(Refused, self.plane.prepare, bad)

    def test_pools_that_are_the_same_live_on(self) -> None:
        more = '[pools.a]\nbackends = ["http://127.0.0.1:1"]\n'
        more += '[pools.b]\nbackends = ["http://127.0.0.1:2"]\n'
        base = Path(self.mktemp())
        config = loads(TEXT + more, base=base)
        self.give(config)
        self.plane.prepare(config)
        self.plane.commit()
        before = self.plane.graph
        assert before is not None
        self.successResultOf(self.prepared(loads(TEXT + more.replace(":2", ":3"), base=base)))
        self.plane.commit()
        after = self.plane.graph
        assert after is not None
        self.assertIs(after.pools["a"], before.pools["a"])
        self.assertIsNot(after.pools["b"], before.pools["b"])
        self.assertTrue(before.pools["b"].backends[0].connections.closed)
        self.assertFalse(after.pools["a"].backends[0].connections.closed)
        self.assertIs(after.limit, before.limit)

    def test_discard(self) -> None:
        """What came for a change that is not to be goes."""
        config = self.config()
        self.give(config)
        self.plane.prepare(config)
        self.plane.commit()
        spare = socket.socket()
        self.plane.give("other", 0, spare, True)
        self.plane.discard()
        self.assertEqual((spare.fileno(), len(self.plane._sockets)), (-1, 1))

    def test_wind_down(self) -> None:
        """What is idle stays, until draining begins; the socket is read from all along."""
        self.plane.wind_down()
        config = self.config()
        self.give(config)
        self.plane.share(0, 1)
        self.plane.prepare(config)
        self.plane.commit()
        assert self.plane.graph is not None
        site = next(iter(self.plane.graph.listeners.values()))
        self.assertFalse(site.service.draining)
        reading = self.reading()
        self.assertTrue(reading)
        self.plane.wind_down()
        self.assertEqual((site.service.draining, site.service.softly), (True, True))
        self.assertEqual(self.reading(), reading)
        done = self.plane.drain(3)
        self.assertEqual((site.service.draining, site.service.softly), (True, False))
        self.plane.wind_down()
        self.assertFalse(site.service.softly)
        self.successResultOf(done)

    def test_drain(self) -> None:
        config = self.config()
        self.give(config)
        self.plane.prepare(config)
        self.plane.commit()
        assert self.plane.graph is not None
        connection = next(iter(self.plane.graph.listeners.values())).connections
        stuck: Any = type("Stuck", (), {"close_when_idle": lambda s: None, "transport": None})()
        connection.add(stuck)
        done, again = self.plane.drain(10, softly=True), self.plane.drain(10)
        self.reactor.advance(9)
        self.assertNoResult(done)
        for _ in range(50):
            self.reactor.advance(0.05)
        self.successResultOf(done)
        self.successResultOf(again)

    def test_softly_and_then_not(self) -> None:
        """A worker that leaves, in a proxy that stops: what is idle is closed after all."""
        config = self.config()
        self.give(config)
        self.plane.prepare(config)
        self.plane.commit()
        assert self.plane.graph is not None
        connections = next(iter(self.plane.graph.listeners.values())).connections

        class Idle:
            transport = None

            def close_when_idle(self) -> None:
                connections.remove(self)  # type: ignore[arg-type]

        connections.add(Idle())  # type: ignore[arg-type]
        done = self.plane.drain(10, softly=True)
        self.reactor.advance(1)
        self.assertNoResult(done)
        again = self.plane.drain(3)
        self.assertEqual(len(connections), 0)
        self.reactor.advance(0.05)
        self.successResultOf(done)
        self.successResultOf(again)

    def test_drain_before_anything(self) -> None:
        self.successResultOf(self.plane.drain(1))

    def test_status(self) -> None:
        self.assertEqual(self.plane.status()["connections"], 0)
        self.assertEqual(self.plane.status()["pid"], os.getpid())
        self.assertGreater(resident(), 2**20)

    def test_memory_without_a_descriptor(self) -> None:
        def full(*_: Any, **__: Any) -> Any:
            raise OSError(errno.EMFILE, "full")

        self.patch(builtins, "open", full)
        self.assertGreater(resident(), 2**20)
