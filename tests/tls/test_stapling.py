from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import ResponseFailed
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.tls.authority import NOW, authority
from tests.tls.responder import names_responder, respond
from txrproxy.tls.certificates import load
from txrproxy.tls.ocsp import MAX_RESPONSE, BadResponse, request
from txrproxy.tls.stapling import (
    FIRST_RETRY,
    LAST_RETRY,
    SOONEST,
    TIMEOUT,
    Stapler,
    _explain,
    asker,
)

ROOT = authority(now=NOW)
URL = "http://ocsp.example/"
LEAF = ROOT.issue("a.example", now=NOW, extensions=(names_responder(URL),))
PLAIN = ROOT.issue("b.example", now=NOW)


class StaplerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[str, bytes]] = []
        self.answers: list[Any] = []
        self.stapler = Stapler(self.clock, self.wall, self.ask)
        folder = Path(self.mktemp())
        self.leaf = load(LEAF.write(folder, "leaf"), Path)
        self.plain = load(PLAIN.write(folder, "plain"), Path)
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)

    def _observe(self, event: Any) -> None:
        if event.get("log_namespace") == "txrproxy.tls.stapling" and "why" in event:
            self.logged.append(event["why"])

    def wall(self) -> float:
        return NOW + self.clock.seconds()

    def ask(self, url: str, question: bytes) -> Deferred[bytes]:
        self.asked.append((url, question))
        return self.answers.pop(0) if self.answers else Deferred()

    def good(self, **how: Any) -> bytes:
        return respond(LEAF, ROOT, self.wall(), **how)

    def test_without_responder(self) -> None:
        self.stapler.watch([self.plain])
        self.assertEqual((self.asked, self.stapler.staple(self.plain)), ([], b""))

    def test_asked_at_once_and_never_waited_for(self) -> None:
        answer: Deferred[bytes] = Deferred()
        self.answers.append(answer)
        self.stapler.watch([self.leaf])
        expected = request(LEAF.certificate, ROOT.certificate)
        self.assertEqual(self.asked, [(URL, expected)])
        self.assertEqual(self.stapler.staple(self.leaf), b"")
        response = self.good()
        answer.callback(response)
        self.assertEqual(self.stapler.staple(self.leaf), response)

    def test_refreshed_at_half_life(self) -> None:
        self.answers.append(succeed(self.good(begins=0, ends=3600)))
        self.stapler.watch([self.leaf])
        self.clock.advance(1799)
        self.assertEqual(len(self.asked), 1)
        newer = respond(LEAF, ROOT, NOW + 1800)
        self.answers.append(succeed(newer))
        self.clock.advance(1)
        self.assertEqual(self.stapler.staple(self.leaf), newer)

    def test_short_life_is_not_hurried(self) -> None:
        self.answers.append(succeed(self.good(begins=-3600, ends=10)))
        self.stapler.watch([self.leaf])
        self.clock.advance(SOONEST - 1)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.asked), 2)

    def test_stapled_only_while_valid(self) -> None:
        response = self.good(begins=0, ends=3600)
        self.answers.append(succeed(response))
        self.stapler.watch([self.leaf])
        self.clock.advance(3599)
        self.assertEqual(self.stapler.staple(self.leaf), response)
        self.clock.advance(1)
        self.assertEqual(self.stapler.staple(self.leaf), b"")

    def test_failures_back_off(self) -> None:
        self.stapler = Stapler(self.clock, self.wall, self.failing)
        self.stapler.watch([self.leaf])
        for number, delay in enumerate((60, 120, 240, 480, 960, 1920, 3600, 3600), 1):
            self.assertEqual(len(self.asked), number)
            self.clock.advance(delay - 1)
            self.assertEqual(len(self.asked), number)
            self.clock.advance(1)
        self.assertEqual((FIRST_RETRY, LAST_RETRY), (60, 3600))
        self.assertEqual(self.logged, ["OSError: no"])

    def failing(self, url: str, question: bytes) -> Deferred[bytes]:
        self.asked.append((url, question))
        raise OSError("no")

    def test_bad_answer_keeps_the_good_one(self) -> None:
        response = self.good(begins=0, ends=7200)
        self.answers += [succeed(response), succeed(b"garbage")]
        self.stapler.watch([self.leaf])
        self.clock.advance(3600)
        self.assertEqual(len(self.asked), 2)
        self.assertEqual(self.stapler.staple(self.leaf), response)
        self.assertEqual(self.logged, ["not an OCSP response"])

    def test_no_answer(self) -> None:
        self.stapler.watch([self.leaf])
        self.clock.advance(TIMEOUT)
        self.assertEqual(len(self.logged), 1)
        self.clock.advance(FIRST_RETRY)
        self.assertEqual(len(self.asked), 2)

    def test_forgets(self) -> None:
        cancelled: list[object] = []
        self.answers.append(Deferred(cancelled.append))
        self.stapler.watch([self.leaf])
        self.stapler.watch([self.plain])
        self.assertEqual(len(cancelled), 1)
        self.assertEqual((self.clock.getDelayedCalls(), self.logged), ([], []))

    def test_stop(self) -> None:
        self.answers.append(succeed(self.good()))
        self.stapler.watch([self.leaf])
        self.stapler.watch([self.leaf])
        self.assertEqual(len(self.asked), 1)
        self.stapler.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.stapler.staple(self.leaf), b"")


class _Responder(Resource):
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.answer = b"answer"
        self.status = 200
        self.got: list[Any] = []

    def render_POST(self, request: Any) -> bytes:
        self.got.append((request.getHeader("content-type"), request.content.read()))
        request.setResponseCode(self.status)
        return self.answer


class _Hasty(Protocol):
    """Ends what has begun to ask."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class AskerTests(TestCase):
    def setUp(self) -> None:
        made: Any = reactor
        self.responder = _Responder()
        port = made.listenTCP(0, Site(self.responder), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}/ocsp"
        self.ask = asker(reactor)

    async def test_posts_and_reads(self) -> None:
        self.assertEqual(await self.ask(self.url, b"question"), b"answer")
        self.assertEqual(self.responder.got, [("application/ocsp-request", b"question")])

    async def test_status(self) -> None:
        self.responder.status = 503
        await self.refused("status 503")

    async def test_too_large(self) -> None:
        self.responder.answer = b"x" * (MAX_RESPONSE + 1)
        await self.refused("too large")

    async def test_empty(self) -> None:
        self.responder.answer = b""
        await self.refused("no answer")

    async def test_hung_up(self) -> None:
        made: Any = reactor
        port = made.listenTCP(0, Factory.forProtocol(_Hasty), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        try:
            await self.ask(f"http://127.0.0.1:{port.getHost().port}/", b"question")
        except ResponseFailed:
            self.assertEqual(_explain(Failure()), "no whole answer: Connection was closed cleanly.")
        else:
            self.fail("there was an answer")

    async def test_connections_are_nothing_to_log(self) -> None:
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        await self.ask(self.url, b"question")
        told = [event.get("log_namespace", "") for event in events]
        self.assertEqual([one for one in told if one.startswith("twisted.web.client")], [])

    async def refused(self, why: str) -> None:
        failed: Any = None
        try:
            await self.ask(self.url, b"question")
        except BadResponse:
            failed = Failure()
        self.assertIn(why, str(failed.value))
