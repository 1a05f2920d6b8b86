"""What is remembered of heads is bounded, whatever a client makes up, and never mixed up.

A flood sends each of its heads twice, because only what comes again is kept.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http import fields as fields_module
from txrproxy.http import head as head_module
from txrproxy.http.forward import RequestRules, ResponseRules, changes, request_head
from txrproxy.http.head import RequestHead, parse_request_head, parse_response_head
from txrproxy.http.peer import Peer

MIB = 1024 * 1024
ROUTES = [RequestRules(False) for _ in range(9)]
RESPONSE_ROUTES = [ResponseRules() for _ in range(9)]


def forget() -> None:
    """Begin with empty memos."""
    for memo in (
        fields_module._blocks,
        fields_module._lines,
        head_module._targets,
        head_module._responses,
        head_module._plain_facts,
    ):
        memo.clear()  # type: ignore[attr-defined]


def held(flood: Callable[[int], None], count: int) -> int:
    """The most bytes held while so many different heads come, each twice."""
    forget()
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(count):
            flood(number)
            flood(number)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        forget()


def routed(head: bytes) -> None:
    """A request through every route there is."""
    parsed = parse_request_head(head)
    for rules in ROUTES:
        rules.block(parsed.fields, parsed.facts, parsed.authority)


class FloodTests(SynchronousTestCase):
    def bounded(self, flood: Callable[[int], None], count: int, bound: int) -> None:
        self.assertLess(held(flood, count), bound)

    def test_long_lines(self) -> None:
        filler = b"x" * 3900
        self.bounded(
            lambda n: routed(b"GET / HTTP/1.1\r\nHost: a\r\nX: %d%b" % (n, filler)), 1000, 16 * MIB
        )

    def test_short_lines(self) -> None:
        self.bounded(
            lambda n: routed(
                b"GET / HTTP/1.1\r\nHost: a\r\n"
                + b"\r\n".join(b"%x:%d" % (i, n) for i in range(99))
            ),
            220,
            16 * MIB,
        )

    def test_lines_like_those_of_browsers(self) -> None:
        self.bounded(
            lambda n: routed(
                b"GET / HTTP/1.1\r\nHost: a\r\n"
                + b"\r\n".join(b"X-Field-%d: value %d" % (i, n) for i in range(13))
            ),
            1250,
            16 * MIB,
        )

    def test_lines_in_turn(self) -> None:
        filler = b"x" * 240
        self.bounded(
            lambda n: routed(b"GET / HTTP/1.1\r\nHost: a\r\nX: %d%b" % (n, filler)), 2000, 16 * MIB
        )

    def test_hosts(self) -> None:
        label = b"x" * 240
        self.bounded(
            lambda n: routed(b"GET / HTTP/1.1\r\nHost: %d.%b" % (n, label)), 1100, 16 * MIB
        )

    def test_targets(self) -> None:
        filler = b"x" * 240

        def flood(number: int) -> None:
            parse_request_head(b"GET /%d%b?a HTTP/1.1\r\nHost: a" % (number, filler))

        self.bounded(flood, 4500, 8 * MIB)

    def test_responses(self) -> None:
        filler = b"x" * 3000

        def flood(number: int) -> None:
            parsed = parse_response_head(b"HTTP/1.1 200 OK\r\nETag: %d%b" % (number, filler))
            for rules in RESPONSE_ROUTES:
                rules.block(parsed)

        self.bounded(flood, 400, 16 * MIB)

    def test_methods_and_versions_are_not_remembered(self) -> None:
        def flood(number: int) -> None:
            parse_request_head(b"M%d / HTTP/1.%d\r\nHost: a" % (number, number % 9 + 1))

        self.bounded(flood, 3000, MIB)


class PoisonTests(SynchronousTestCase):
    """Equal fields are shared by strangers: nothing of one request may reach another."""

    peer = Peer(b"192.0.2.7", b"http", False)
    believed = Peer(b"10.0.0.1", b"https", True)

    def setUp(self) -> None:
        forget()
        self.rules = {
            False: RequestRules(False, changes=changes(set=[(b"X-Set", b"1")])),
            True: RequestRules(True, changes=changes(set=[(b"X-Set", b"1")])),
        }

    def sent(self, head: RequestHead, peer: Peer) -> bytes:
        block = self.rules[peer.trusted].block(head.fields, head.facts, head.authority)
        return request_head(head.method, head.target.origin, b"", block, peer, b"id")

    def test_every_order(self) -> None:
        """Whatever came before, a head becomes what it becomes alone."""
        blocks = [
            b"Host: a",
            b"Host: b",
            b"Host: A",
            b"Host: a\r\nX: y",
            b"X: y\r\nHost: a",
            b"Host: a\r\nConnection: close, X\r\nX: y",
            b"Host: a\r\nConnection: upgrade\r\nUpgrade: websocket",
            b"Host: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: ftp",
            b"Host: a\r\nX_Set: 2\r\nX-Set: 3",
            b"Host: a\r\nContent-Length: 5",
            b"Host: a\r\nContent-Length: 0",
            b"Host: a\r\nTransfer-Encoding: chunked",
            b"Host: a\r\nExpect: 100-continue",
            b"Host: a\r\nMax-Forwards: 5",
            b"Host: a\r\nReferer: r\r\nUser-Agent: u",
        ]
        lines = [
            b"GET / HTTP/1.1",
            b"GET http://a/ HTTP/1.1",
            b"POST /x HTTP/1.0",
            b"M /y HTTP/1.2",
        ]
        cases = [
            (line + b"\r\n" + block, peer)
            for line in lines
            for block in blocks
            for peer in (self.peer, self.believed)
        ]
        alone = []
        for data, peer in cases:
            forget()
            alone.append(self.outcome(data, peer))
        for order in (1, -1):
            forget()
            for _ in range(3):
                for (data, peer), expected in list(zip(cases, alone, strict=True))[::order]:
                    self.assertEqual(self.outcome(data, peer), expected, (data, peer.trusted))

    def outcome(self, data: bytes, peer: Peer) -> object:
        try:
            head = parse_request_head(data)
        except head_module.BadHead as error:
            return error.reason.name
        facts = head.facts
        return (
            self.sent(head, peer),
            head.host,
            head.authority,
            facts.body,
            facts.keep_alive,
            facts.expects_continue,
            facts.trailers,
            facts.upgrade,
            facts.http_11,
            facts.options,
        )
