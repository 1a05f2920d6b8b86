"""Records become metrics, and what clients choose becomes no label."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txrproxy import metrics
from txrproxy.metrics import BOUNDS, METRICS, Kind
from txrproxy.observe import counts
from txrproxy.observe.counts import Counts
from txrproxy.observe.formats import Record


def record(**values: Any) -> Record:
    """A plain request to a backend, but for these."""
    fields: dict[str, Any] = {
        "time": 0.0,
        "client": b"192.0.2.1",
        "method": b"GET",
        "target": b"/",
        "version": b"1.1",
        "host": b"a.example",
        "status": 200,
        "bytes_in": 100,
        "bytes_out": 1000,
        "route": b"all",
        "pool": b"app",
        "backend": b"10.0.0.1:80",
        "connect": None,
        "first_byte": 0.003,
        "total": 0.004,
        "reason": b"ok",
        "request_id": b"",
        "user_agent": b"",
        "referer": b"",
        "way": (b"web", b"http", b"", b""),
        "notes": (),
    }
    assert not values.keys() - fields.keys()
    return tuple({**fields, **values}.values())  # type: ignore[return-value]


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.told = 0
        self.counts = Counts(self.changed)

    def changed(self) -> None:
        self.told += 1

    def take(self) -> dict[tuple[str, ...], Any]:
        rows = self.counts.take()
        for name, labels, value in rows:
            metric = METRICS[name]
            self.assertEqual(len(labels), len(metric.labels), name)
            self.assertEqual(isinstance(value, list), metric.kind is Kind.HISTOGRAM)
        return {(name, *labels): value for name, labels, value in rows}


class Requests(Case):
    def test_plain(self) -> None:
        self.counts.add([record(), record(), record(status=404)])
        found = self.take()
        self.assertEqual(found[metrics.REQUESTS, "all", "GET", "2xx"], 2)
        self.assertEqual(found[metrics.REQUESTS, "all", "GET", "4xx"], 1)
        self.assertEqual(found[metrics.REASONS, "all", "ok"], 3)
        self.assertEqual(found[metrics.REQUEST_BYTES, "all"], 300)
        self.assertEqual(found[metrics.RESPONSE_BYTES, "all"], 3000)
        self.assertEqual(found[metrics.BACKEND_REQUESTS, "app", "10.0.0.1:80", "2xx"], 2)

    def test_histograms(self) -> None:
        self.counts.add([record(total=0.001), record(total=0.0011), record(total=99.0, connect=1)])
        *slots, total = self.take()[metrics.DURATION, "all"]
        self.assertEqual(len(slots), len(BOUNDS) + 1)
        self.assertEqual((slots[0], slots[1], slots[-1]), (1, 1, 1))
        self.assertAlmostEqual(total, 99.0021)

    def test_connecting_and_waiting(self) -> None:
        self.counts.add([record(connect=0.002, first_byte=0.3), record(first_byte=None)])
        found = self.take()
        self.assertEqual(sum(found[metrics.BACKEND_CONNECT, "app"][:-1]), 1)
        self.assertAlmostEqual(found[metrics.BACKEND_CONNECT, "app"][-1], 0.002)
        self.assertAlmostEqual(found[metrics.BACKEND_RESPONSE, "app"][-1], 0.3)

    def test_without_a_backend(self) -> None:
        self.counts.add([record(pool=b"", backend=b"", first_byte=None, route=b"", status=400)])
        found = self.take()
        self.assertEqual(found[metrics.REQUESTS, "", "GET", "4xx"], 1)
        self.assertNotIn(metrics.BACKEND_REQUESTS, {name for name, *_ in found})

    def test_tunnels_have_no_duration(self) -> None:
        self.counts.add([record(reason=b"upgraded", status=101, total=3600.0)])
        self.assertNotIn((metrics.DURATION, "all"), self.take())

    def test_what_clients_and_origins_choose(self) -> None:
        """Methods and statuses are theirs; the number of labels is not."""
        methods = [record(method=b"M%d" % number) for number in range(500)]
        statuses = [record(status=number) for number in range(600, 999)]
        self.counts.add(methods + statuses + [record(status=0), record(method=b"")])
        found = [key for key in self.take() if key[0] == metrics.REQUESTS]
        self.assertEqual(
            sorted(found),
            [
                (metrics.REQUESTS, "all", "GET", "none"),
                (metrics.REQUESTS, "all", "GET", "other"),
                (metrics.REQUESTS, "all", "other", "2xx"),
            ],
        )

    def test_cells_are_bounded(self) -> None:
        self.patch(counts, "MAX_CELLS", 10)
        self.counts.add([record(method=b"M%d" % number) for number in range(25)])
        self.assertLessEqual(len(self.counts._cells), 10)
        self.assertEqual(self.take()[metrics.REQUESTS, "all", "other", "2xx"], 25)

    def test_values_are_bounded(self) -> None:
        self.patch(counts, "MAX_VALUES", 3)
        self.counts.add([record(route=b"r%d" % number) for number in range(10)])
        self.assertEqual(len(self.take()), 3)


class Caches(Case):
    def test_results(self) -> None:
        rows = [record(notes=((b"cache", word),)) for word in (b"hit", b"hit", b"miss", b"new")]
        self.counts.add(rows)
        found = self.take()
        self.assertEqual(found[metrics.CACHE_REQUESTS, "all", "hit"], 2)
        self.assertEqual(found[metrics.CACHE_REQUESTS, "all", "miss"], 1)
        self.assertEqual(found[metrics.CACHE_REQUESTS, "all", "other"], 1)


class Retries(Case):
    def add(self, tries: bytes, **values: Any) -> dict[tuple[str, ...], Any]:
        notes = ((b"client_cert", b"CN=a"), (b"tries", tries))
        self.counts.add([record(notes=notes, **values)])
        return self.take()

    def test_one_failed_and_another_did_it(self) -> None:
        found = self.add(b"10.0.0.2:80 reset")
        self.assertEqual(found[metrics.BACKEND_FAILURES, "app", "10.0.0.2:80", "reset"], 1)
        self.assertEqual(found[metrics.RETRIES, "app"], 1)

    def test_the_last_failure_was_the_end(self) -> None:
        tries = b"10.0.0.2:80 reset, 10.0.0.1:80 connect_refused"
        found = self.add(tries, reason=b"connect_refused", status=502)
        self.assertEqual(found[metrics.RETRIES, "app"], 1)

    def test_none(self) -> None:
        found = self.add(b"10.0.0.1:80 503", status=503)
        self.assertEqual(found[metrics.BACKEND_FAILURES, "app", "10.0.0.1:80", "503"], 1)
        self.assertNotIn((metrics.RETRIES, "app"), found)

    def test_an_outcome_of_no_list(self) -> None:
        found = self.add(b"unix:/a b whatever")
        self.assertEqual(found[metrics.BACKEND_FAILURES, "app", "unix:/a b", "other"], 1)


class Taking(Case):
    def test_once(self) -> None:
        self.counts.add([record()])
        self.assertTrue(self.take())
        self.assertEqual(self.take(), {})

    def test_tells_once_that_there_is_something(self) -> None:
        self.counts.add([])
        self.assertEqual(self.told, 0)
        self.counts.add([record()])
        self.counts.add([record()])
        self.assertEqual(self.told, 1)
        self.take()
        self.counts.add([record()])
        self.assertEqual(self.told, 2)
