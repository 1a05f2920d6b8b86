"""A filter lets through what is cleared, and remembers it for a while."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.waf.test_pool import Reactor
from txrproxy import metrics
from txrproxy.errors import WAF_BLOCKED, WAF_UNAVAILABLE
from txrproxy.http.fields import Fields, make_line
from txrproxy.transport.deadlines import Deadlines
from txrproxy.waf.audit import Masking
from txrproxy.waf.guard import Auditor, Sheet, firewall, to_error_log
from txrproxy.waf.memo import FRESH, Verdicts
from txrproxy.waf.pool import Engines
from txrproxy.waf.verdict import Tally

BLOCKED = json.dumps(
    {"blocked": True, "score": 5, "matches": [{"id": 1, "variable": "ARGS:a", "value": "x"}]}
).encode()
BELOW = BLOCKED.replace(b"true", b"false")


class Exchange:
    """What the filter needs of one."""

    def __init__(self, target: bytes = b"/", body: int = 0, client: bytes = b"10.0.0.1") -> None:
        fields = Fields([make_line(b"Host", b"a"), make_line(b"X-A", b"1")])
        self.head: Any = SimpleNamespace(
            method=b"GET",
            host=b"a",
            target=SimpleNamespace(origin=target),
            fields=fields,
            facts=SimpleNamespace(body=body, http_11=True),
        )
        self.client = client
        self.request_id = b"r1"
        self.plan: Any = SimpleNamespace(name=b"shop")
        self.at_end: Any = ()
        self.collected: Any = None
        self.end: Any = None

    def collect(self, limit: int, done: Any) -> None:
        self.collected = (limit, done)

    def fail(self, reason: Any) -> None:
        self.end = reason

    def go_on(self, serve: Any) -> None:
        serve(self)


def passed(exchange: Exchange) -> None:
    exchange.end = "passed"


class GuardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        deadlines = Deadlines(self.reactor)
        self.addCleanup(deadlines.close)
        self.engines = Engines(self.reactor, deadlines, ["text"], queue=1)
        self.engines.start()
        self.reactor.processes[0].say(b"ready", b"[1]")
        self.written: list[str] = []
        self.tally: Tally = Counter()
        self.memo: Verdicts | None = Verdicts(100_000)

    def serve(
        self,
        exchange: Exchange,
        verdict: bytes | None = b"",
        blocks: bool = True,
        closed: bool = True,
    ) -> Any:
        """Serve an exchange, and give the verdict if there is to be one."""
        auditor = Auditor(Masking([]), self.written.append, lambda: 0.0, self.tally)
        sheet = Sheet(self.engines, 7, self.memo)
        firewall(sheet, auditor, blocks, closed, 1000, "off", passed)(exchange)
        if verdict is not None:
            self.reactor.processes[0].judge(verdict)
        return exchange.end

    @property
    def asked(self) -> int:
        return len(self.reactor.processes[0].told) - 1

    def test_cleared(self) -> None:
        exchange = Exchange(b"/a?b")
        self.assertEqual(self.serve(exchange), "passed")
        self.assertEqual(
            self.reactor.processes[0].told[1],
            [
                *(b"request", b"1", b"7", b"10.0.0.1", b"GET", b"/a?b", b"1.1", b"r1", b"1", b""),
                *(b"host", b"a", b"x-a", b"1"),
            ],
        )
        self.assertEqual(self.written, [])

    def test_blocked(self) -> None:
        self.assertIs(self.serve(Exchange(), BLOCKED), WAF_BLOCKED)
        self.assertEqual(json.loads(self.written[0])["action"], "blocked")

    def test_detected(self) -> None:
        self.assertEqual(self.serve(Exchange(), BLOCKED, blocks=False), "passed")
        self.assertEqual(json.loads(self.written[0])["action"], "detected")

    def test_below_the_threshold(self) -> None:
        self.assertEqual(self.serve(Exchange(), BELOW), "passed")
        self.assertEqual(json.loads(self.written[0])["action"], "passed")

    def test_no_verdict(self) -> None:
        for blocks, closed, end in (
            (True, True, WAF_UNAVAILABLE),
            (True, False, "passed"),
            (False, True, "passed"),
        ):
            self.setUp()
            exchange = Exchange()
            self.serve(exchange, None, blocks, closed)
            self.reactor.processes[0].end()
            self.assertIs(exchange.end, end)

    def test_full_at_once(self) -> None:
        for _ in range(2):
            self.serve(Exchange(), None)
        exchange = Exchange()
        self.assertIs(self.serve(exchange, None), WAF_UNAVAILABLE)
        self.assertEqual(exchange.at_end, ())

    def test_gone_meanwhile(self) -> None:
        exchange = Exchange()
        self.serve(exchange, None)
        exchange.at_end[0](exchange)
        self.reactor.processes[0].judge(BLOCKED)
        self.assertIsNone(exchange.end)
        self.assertEqual(self.written, [])

    def test_body(self) -> None:
        exchange = Exchange(body=5)
        self.serve(exchange, None)
        self.assertEqual(self.asked, 0)
        limit, done = exchange.collected
        self.assertEqual(limit, 1000)
        done(exchange, b"hello", False)
        self.assertEqual(self.reactor.processes[0].told[1][8:10], [b"0", b"hello"])
        self.reactor.processes[0].judge()
        self.assertEqual(exchange.end, "passed")

    # What is remembered.

    def test_remembered(self) -> None:
        for _ in range(5):
            verdict = b"" if self.asked < 2 else None
            self.assertEqual(self.serve(Exchange(), verdict), "passed")
        self.assertEqual(self.asked, 2)
        self.reactor.advance(FRESH)
        self.assertEqual(self.serve(Exchange()), "passed")
        self.assertEqual(self.asked, 3)

    def test_only_the_same(self) -> None:
        for _ in range(2):
            self.serve(Exchange())
        self.serve(Exchange(b"/b"))
        self.serve(Exchange(client=b"10.0.0.2"))
        other = Exchange()
        other.head.method = b"HEAD"
        self.serve(other)
        self.assertEqual(self.asked, 5)

    def test_all_verdicts_are_remembered(self) -> None:
        """And what is to be written down is written each time."""
        for body, end in ((BELOW, "passed"), (BLOCKED, WAF_BLOCKED)):
            self.setUp()
            for _ in range(4):
                verdict = body if self.asked < 2 else None
                self.assertIs(self.serve(Exchange(), verdict), end)
            self.assertEqual(self.asked, 2)
            self.assertEqual(len(self.written), 4)

    def test_bodies_are_not_remembered(self) -> None:
        for _ in range(4):
            exchange = Exchange(body=5)
            self.serve(exchange, None)
            exchange.collected[1](exchange, b"hello", True)
            self.reactor.processes[0].judge()
        self.assertEqual(self.asked, 4)

    def test_no_memo(self) -> None:
        self.memo = None
        for _ in range(4):
            self.assertEqual(self.serve(Exchange()), "passed")
        self.assertEqual(self.asked, 4)

    # What is counted.

    def counted(self, metric: str) -> dict[tuple[str, ...], int]:
        return {labels: n for (name, labels), n in self.tally.items() if name == metric}

    def test_verdicts(self) -> None:
        self.memo = None
        for verdict, blocks in ((b"", True), (BELOW, True), (BLOCKED, True), (BLOCKED, False)):
            self.serve(Exchange(), verdict, blocks)
        results = ("clear", "passed", "blocked", "detected")
        expected = {("shop", result): 1 for result in results}
        self.assertEqual(self.counted(metrics.WAF_REQUESTS), expected)

    def test_remembered_verdicts(self) -> None:
        for _ in range(5):
            self.serve(Exchange(), BLOCKED if self.asked < 2 else None)
        self.assertEqual(self.counted(metrics.WAF_REQUESTS), {("shop", "blocked"): 5})
        self.assertEqual(self.counted(metrics.WAF_REMEMBERED), {("shop",): 3})

    def test_failures(self) -> None:
        for _ in range(3):
            self.serve(Exchange(), None)
        self.reactor.processes[0].end()
        found = self.counted(metrics.WAF_FAILURES)
        self.assertEqual(found, {("shop", "queue_full"): 1, ("shop", "died"): 1})
        self.assertEqual(self.counted(metrics.WAF_REQUESTS), {("shop", "unavailable"): 2})

    def test_error_log(self) -> None:
        logged: list[dict[str, Any]] = []
        from twisted.logger import formatEvent, globalLogPublisher

        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        to_error_log('{"a": "{b}"}')
        self.assertEqual(formatEvent(logged[0]), '{"a": "{b}"}')
