"""A process tells what it has counted, once, soon and at its end, and how it is."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from tests.observe.test_counts import record
from txrproxy import metrics
from txrproxy.config.build import build
from txrproxy.config.toml import loads
from txrproxy.metrics import METRICS
from txrproxy.observe.accesslog import open_log
from txrproxy.observe.counts import Counts
from txrproxy.service.figures import INTERVAL, Figures
from txrproxy.transport.channel import Body, local_pair


class FakePlane:
    """What serves, without what serves it."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.graph: Any = None


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock: Any = MemoryReactorClock()
        self.clock.callFromThread = lambda call, *arguments: call(*arguments)
        self.main, worker = local_pair()
        self.plane: Any = FakePlane()
        self.figures = Figures(worker, self.clock, self.plane, number=3)
        self.told: list[Body] = []
        self.main.register("counted", self.told.append)

    def requests(self, body: Body) -> int:
        return sum(value for name, _, value in body["rows"] if name == metrics.REQUESTS)

    def serve(self) -> Any:
        """A graph, whose access log counts what it is told."""
        log = open_log("-", "off", (), self.clock, self.plane.counts.add)
        config = loads(f'{MINIMAL}[caches.main]\npath = "cache"\n')
        self.plane.graph = build(config, self.clock, log)
        self.addCleanup(self.plane.graph.deadlines.close)
        return self.plane.graph


class Counting(Case):
    def test_told_within_a_second(self) -> None:
        self.plane.counts.add([record()])
        self.plane.counts.add([record()])
        self.assertEqual(self.told, [])
        self.clock.advance(INTERVAL)
        (body,) = self.told
        self.assertEqual(self.requests(body), 2)

    def test_nothing_happens_without_requests(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_told_once(self) -> None:
        self.plane.counts.add([record()])
        answer = self.successResultOf(self.main.call("figures"))
        self.assertEqual(self.requests(answer), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.plane.counts.add([record()])
        self.clock.advance(INTERVAL)
        self.assertEqual([self.requests(body) for body in self.told], [1])

    def test_told_at_the_end(self) -> None:
        self.plane.counts.add([record()])
        self.figures.tell()
        self.assertEqual([self.requests(body) for body in self.told], [1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_the_log_still_holds(self) -> None:
        graph = self.serve()
        graph.log.append(record())
        self.assertEqual(self.requests(self.successResultOf(self.main.call("figures"))), 1)

    def test_connections(self) -> None:
        graph = self.serve()
        found = []
        for accepted in (3, 5):
            graph.limit.accepted = accepted
            rows = self.successResultOf(self.main.call("figures"))["rows"]
            found += [value for name, _, value in rows if name == metrics.ACCEPTED]
        self.assertEqual(found, [3, 2])

    def test_verdicts_of_firewalls(self) -> None:
        graph = self.serve()
        tally = graph.firewalls._auditor.tally
        key = (metrics.WAF_REQUESTS, ("app", "blocked"))
        found = []
        for number in (3, 2):
            tally[key] += number
            rows = self.successResultOf(self.main.call("figures"))["rows"]
            found += [row for row in rows if row[0] == metrics.WAF_REQUESTS]
        self.assertEqual(found, [(key[0], ["app", "blocked"], number) for number in (3, 2)])

    def test_counts_of_firewalls_outlive_a_reload(self) -> None:
        graph = self.serve()
        graph.firewalls._auditor.tally[metrics.WAF_REMEMBERED, ("app",)] += 1
        fresh = build(graph.config, self.clock, graph.log, old=graph)
        self.assertEqual(list(fresh.firewalls.counted()), [(metrics.WAF_REMEMBERED, ("app",), 1)])


class State(Case):
    def test_before_it_serves(self) -> None:
        (row,) = self.successResultOf(self.main.call("figures"))["now"]
        self.assertEqual(row[:2], (metrics.MEMORY, ["3"]))
        self.assertEqual(self.successResultOf(self.main.call("pools")), {"pools": []})

    def test_of_a_graph(self) -> None:
        self.serve()
        now = self.successResultOf(self.main.call("figures"))["now"]
        for name, labels, _ in now:
            self.assertEqual(len(labels), len(METRICS[name].labels), name)
            self.assertFalse(METRICS[name].kind.grows, name)
        found = {(name, *labels): value for name, labels, value in now}
        self.assertEqual(found[metrics.AVAILABLE, "app", "127.0.0.1:3000"], 1)
        self.assertEqual(found[metrics.CONNECTIONS, "http"], 0)
        self.assertEqual(found[metrics.CACHE_MEMORY, "main"], 0)

    def test_pools(self) -> None:
        self.serve()
        ((pool),) = self.successResultOf(self.main.call("pools"))["pools"]
        (backend,) = pool["backends"]
        self.assertEqual((pool["name"], backend["id"]), ("app", "127.0.0.1:3000"))
        self.assertEqual((backend["state"], backend["active"]), ("up", 0))
