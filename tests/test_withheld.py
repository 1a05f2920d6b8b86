"""A response waits for its verdict, whatever happens meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.errors import WAF_REFUSED_RESPONSE
from txrproxy.http.fields import EMPTY, Fields, make_line
from txrproxy.withheld import Withheld, withhold

HEAD: Any = object()


class Exchange:
    """What a withheld response needs of one, and of its upstream."""

    def __init__(self) -> None:
        self.happened: list[Any] = []
        self.over = False
        happened = self.happened
        self.upstream: Any = SimpleNamespace(
            pause=lambda: happened.append("pause"),
            resume=lambda: happened.append("resume"),
            transport=SimpleNamespace(resumeProducing=lambda: happened.append("read on")),
        )
        self.withheld: Any = None

    def on_response(
        self, head: Any, length: int, content: bytes, ended: bool, judged: bool = False
    ) -> None:
        if not self.withheld.takes(head, length, content, ended, judged):
            self.happened.append((content, ended))

    def on_response_body(self, content: bytes, ended: bool, trailers: Fields = EMPTY) -> None:
        if not self.withheld.more(content, ended, trailers):
            self.happened.append((content, ended, bool(trailers)))

    def refuse_response(self, reason: Any) -> None:
        self.happened.append(reason)


class WithheldTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exchange = Exchange()
        self.want = 0
        self.looks: list[Any] = []

        def look(exchange: Any, head: Any, content: bytes, decide: Any) -> None:
            self.looks.append((content, decide))

        self.exchange.withheld = Withheld(self.exchange, lambda head: self.want, look)

    def decide(self, reason: Any = None) -> None:
        self.looks[-1][1](reason)

    def test_whole(self) -> None:
        self.exchange.on_response(HEAD, 2, b"hi", True)
        self.assertIsNone(self.exchange.upstream)
        self.assertEqual(self.exchange.happened, [])
        self.decide()
        self.assertEqual(self.exchange.happened, [(b"hi", True)])

    def test_begun(self) -> None:
        """What follows is not withheld any more."""
        self.exchange.on_response(HEAD, 9, b"hi", False)
        self.assertEqual(self.looks[0][0], b"")
        self.exchange.on_response_body(b" there", False)
        self.decide()
        self.exchange.on_response_body(b"!", True)
        expected = ["pause", "resume", (b"hi there", False), (b"!", True, False)]
        self.assertEqual(self.exchange.happened, expected)

    def test_ends_while_it_waits(self) -> None:
        """The connection is another's then, and must be read again."""
        self.exchange.on_response(HEAD, 3, b"hi", False)
        trailers = Fields([make_line(b"X-A", b"1")])
        self.exchange.on_response_body(b"!", True, trailers)
        self.decide()
        expected = ["pause", "read on", (b"hi!", False), (b"", True, True)]
        self.assertEqual(self.exchange.happened, expected)

    def test_body_is_looked_at(self) -> None:
        self.want = 4
        self.exchange.on_response(HEAD, -1, b"a", False)
        self.exchange.on_response_body(b"bc", False)
        self.assertEqual(self.looks, [])
        self.exchange.on_response_body(b"def", False)
        self.assertEqual(self.looks[0][0], b"abcd")
        self.decide()
        self.assertEqual(self.exchange.happened, ["pause", "resume", (b"abcdef", False)])

    def test_short_body(self) -> None:
        self.want = 100
        self.exchange.on_response(HEAD, -1, b"a", False)
        self.exchange.on_response_body(b"b", True)
        self.decide()
        self.assertEqual(self.exchange.happened, [(b"ab", True)])

    def test_refused(self) -> None:
        self.exchange.on_response(HEAD, 2, b"hi", True)
        self.decide(WAF_REFUSED_RESPONSE)
        self.decide()
        self.assertEqual(self.exchange.happened, [WAF_REFUSED_RESPONSE])

    def test_over_meanwhile(self) -> None:
        self.exchange.on_response(HEAD, 2, b"hi", True)
        self.exchange.over = True
        self.decide()
        self.assertEqual(self.exchange.happened, [])

    def test_another_response_meanwhile(self) -> None:
        """After a retry, the verdict on the first is of no use."""
        self.exchange.on_response(HEAD, 2, b"no", False)
        self.exchange.on_response(HEAD, 3, b"yes", True)
        self.looks[0][1](None)
        self.assertEqual(self.exchange.happened, ["pause"])
        self.decide()
        self.assertEqual(self.exchange.happened, ["pause", (b"yes", True)])

    def test_something_comes_first(self) -> None:
        """It is seen to before the look, which has the last word."""
        seen: list[Any] = []
        withhold(self.exchange, lambda head, go_on: seen.append((head, go_on)))
        self.exchange.on_response(HEAD, 2, b"hi", True)
        self.assertEqual((seen[0][0], self.looks), (HEAD, []))
        seen[0][1]()
        self.decide(WAF_REFUSED_RESPONSE)
        self.assertEqual(self.exchange.happened, [WAF_REFUSED_RESPONSE])

    def test_nothing_but_that(self) -> None:
        self.exchange.withheld = None
        seen: list[Any] = []
        withhold(self.exchange, lambda head, go_on: seen.append(go_on))
        self.exchange.on_response(HEAD, 9, b"hi", False)
        self.exchange.on_response_body(b" there", False)
        self.assertEqual(self.exchange.happened, ["pause"])
        seen[0]()
        self.exchange.on_response_body(b"!", True)
        expected = ["pause", "resume", (b"hi there", False), (b"!", True, False)]
        self.assertEqual(self.exchange.happened, expected)
