"""One check: how each course of it ends, and what it never reads."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config import schema
from txrproxy.config.forms.numbers import statuses, timeout
from txrproxy.errors import CONNECT_REFUSED, NO_SOCKET
from txrproxy.health.probe import MAX_BODY, Check, Probe

OK = b"HTTP/1.1 200 OK\r\n"


class Line:
    """A dialer that waits to be told what comes of it."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.timeout = 0.0

    def __call__(self, make: Any, timeout: float, connected: Any, failed: Any) -> None:
        self.timeout = timeout
        self._make, self._connected, self.fail = make, connected, failed

    def connect(self) -> StringTransport:
        transport = StringTransport()
        self.protocol = self._make()
        self.protocol.makeConnection(transport)
        self._connected(self.protocol)
        return transport


class ProbeCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.line = Line()
        self.ends: list[tuple[bool | None, str]] = []

    def probe(self, path: str = "/up", **settings: Any) -> Probe:
        check = Check(schema.Health(path=schema.RequestTarget(path) if path else None, **settings))
        probe = Probe(check, check.request(b"app:81"), lambda *end: self.ends.append(end))
        probe.start(self.clock, self.line)
        return probe

    def asked(self, **settings: Any) -> StringTransport:
        """A check whose request is out."""
        self.probe(**settings)
        return self.line.connect()

    def hear(self, data: bytes) -> None:
        self.line.protocol.dataReceived(data)

    def lose(self, error: Exception) -> None:
        self.line.protocol.connectionLost(Failure(error))

    def over(self, passed: bool | None, text: str) -> None:
        self.assertEqual(self.ends, [(passed, text)])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AskedTests(ProbeCase):
    def test_request(self) -> None:
        self.assertEqual(
            self.asked(path="/up?full=1").value(),
            b"GET /up?full=1 HTTP/1.1\r\nHost: app:81\r\nUser-Agent: txrproxy-health\r\n"
            b"Accept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n",
        )

    def test_host(self) -> None:
        self.assertIn(b"\r\nHost: a.example\r\n", self.asked(host="a.example").value())

    def test_passes(self) -> None:
        transport = self.asked()
        self.hear(OK + b"Content-Length: 2\r\n\r\nhi")
        self.over(True, "status 200")
        self.assertTrue(transport.disconnecting)

    def test_in_single_bytes(self) -> None:
        self.asked(body="well")
        for byte in OK + b"Content-Length: 9\r\n\r\nall well\n":
            self.hear(bytes([byte]))
        self.over(True, "status 200, with the text")

    def test_the_head_is_enough(self) -> None:
        transport = self.asked()
        self.hear(OK + b"Content-Length: 99999999\r\n\r\n")
        self.over(True, "status 200")
        self.assertTrue(transport.disconnecting)
        self.hear(b"x" * 100)
        self.lose(ConnectionDone())
        self.over(True, "status 200")

    def test_no_socket_for_it(self) -> None:
        """Which says nothing of the backend."""
        self.probe()
        self.line.fail(NO_SOCKET)
        self.over(None, "no socket")

    def test_another_status(self) -> None:
        self.asked()
        self.hear(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
        self.over(False, "status 500, expected 200-399")

    def test_expected_statuses(self) -> None:
        self.asked(expect=statuses("200,404"))
        self.hear(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
        self.over(True, "status 404")

    def test_interim_responses_are_skipped(self) -> None:
        self.asked(expect=statuses("100-299"))
        self.hear(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(self.ends, [])
        self.hear(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.over(True, "status 204")

    def test_interim_responses_without_end(self) -> None:
        self.asked()
        self.hear(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
        self.over(False, "bad response")

    def test_another_protocol(self) -> None:
        self.asked()
        self.hear(b"SSH-2.0-OpenSSH_9.2\r\n")
        self.over(False, "bad response")

    def test_switching_protocols(self) -> None:
        self.asked(expect=statuses("101"))
        self.hear(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
        self.over(False, "bad response")

    def test_a_head_without_end(self) -> None:
        self.asked()
        self.hear(OK)
        for number in range(5000):
            self.hear(b"X-%d: %b\r\n" % (number, b"x" * 100))
        self.over(False, "response head too large")

    def test_closed_before_the_answer(self) -> None:
        for error in (ConnectionDone(), ConnectionLost()):
            self.setUp()
            self.asked()
            self.hear(OK[:9])
            self.lose(error)
            self.over(False, "it closed the connection before it answered")


class TextTests(ProbeCase):
    def body(self, *pieces: bytes) -> None:
        self.asked(body="well")
        self.hear(OK + b"Connection: close\r\n\r\n")
        for piece in pieces:
            self.hear(piece)

    def test_until_it_is_found(self) -> None:
        self.body(b"all we", b"ll and more")
        self.over(True, "status 200, with the text")

    def test_lacking(self) -> None:
        self.body(b"all ill")
        self.assertEqual(self.ends, [])
        self.lose(ConnectionDone())
        self.over(False, "the body lacks the text")

    def test_lacking_in_one_piece(self) -> None:
        self.asked(body="well")
        self.hear(OK + b"Content-Length: 3\r\n\r\nill")
        self.over(False, "the body lacks the text")

    def test_no_body(self) -> None:
        self.asked(body="well")
        self.hear(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.over(False, "the body lacks the text")

    def test_the_status_counts_first(self) -> None:
        self.asked(body="well")
        self.hear(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nwell")
        self.over(False, "status 503, expected 200-399")

    def test_chunked(self) -> None:
        self.asked(body="well")
        self.hear(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nwe\r\n")
        self.hear(b"2\r\nll\r\n")
        self.over(True, "status 200, with the text")

    def test_bad_chunks(self) -> None:
        self.asked(body="well")
        self.hear(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nwe\r\n")
        self.hear(b"zz\r\n")
        self.over(False, "bad response body")

    def test_cut_off(self) -> None:
        self.body(b"all")
        self.lose(ConnectionLost())
        self.over(False, "it closed the connection in the middle of its response")

    def test_a_body_without_end(self) -> None:
        self.asked(body="well")
        self.hear(OK + b"Connection: close\r\n\r\n")
        sent = 0
        while not self.ends:
            self.hear(b"x" * 4000)
            sent += 4000
        self.over(False, "the body lacks the text in its first 64 KiB")
        self.assertLess(sent, MAX_BODY + 4001)

    def test_behind_the_bound(self) -> None:
        self.body(b"x" * (MAX_BODY - 3) + b"well")
        self.over(False, "the body lacks the text in its first 64 KiB")

    def test_at_the_bound(self) -> None:
        self.body(b"x" * (MAX_BODY - 4), b"well")
        self.over(True, "status 200, with the text")

    @given(st.text("we", max_size=40), st.lists(st.integers(0, 40), max_size=8))
    def test_wherever_it_is_split(self, body: str, cuts: list[int]) -> None:
        self.setUp()
        self.asked(body="wew")
        self.hear(OK + b"Connection: close\r\n\r\n")
        edges = [0, *sorted(cuts), len(body)]
        for start, end in pairwise(edges):
            self.hear(body.encode()[start:end])
        self.lose(ConnectionDone())
        self.assertEqual(self.ends[0][0], "wew" in body)
        self.assertEqual(len(self.ends), 1)


class ConnectTests(ProbeCase):
    def test_passes(self) -> None:
        transport = self.asked(path="")
        self.over(True, "connected")
        self.assertEqual(transport.value(), b"")
        self.assertTrue(transport.disconnecting)

    def test_one_that_speaks_first(self) -> None:
        self.asked(path="")
        self.hear(b"220 hello\r\n")
        self.over(True, "connected")


class FailureTests(ProbeCase):
    def test_refused(self) -> None:
        self.probe()
        self.line.fail(CONNECT_REFUSED)
        self.over(False, "connect refused")

    def test_one_timeout_for_all(self) -> None:
        self.probe(timeout=timeout("2s"))
        self.assertEqual(self.line.timeout, 2)
        self.clock.advance(1)
        transport = self.line.connect()
        for byte in OK[:9]:  # a trickle gains nothing
            self.hear(bytes([byte]))
            self.clock.advance(0.1)
        self.assertEqual(self.ends, [])
        self.clock.advance(0.2)
        self.over(False, "timed out after 2 s")
        self.assertTrue(transport.disconnected)

    def test_connected_too_late(self) -> None:
        self.probe(timeout=timeout("500ms"))
        self.clock.advance(1)
        self.over(False, "timed out after 0.5 s")
        transport = self.line.connect()
        self.assertTrue(transport.disconnected)
        self.assertEqual(transport.value(), b"")
        self.lose(ConnectionDone())
        self.over(False, "timed out after 0.5 s")

    def test_refused_too_late(self) -> None:
        self.probe()
        self.clock.advance(2)
        self.line.fail(CONNECT_REFUSED)
        self.over(False, "timed out after 2 s")

    def test_a_dialer_that_raises(self) -> None:
        def broken(*how: Any) -> None:
            raise ValueError("no such thing")

        self.line = broken
        self.probe()
        self.over(False, "the check could not begin: ValueError('no such thing')")

    def test_cancelled(self) -> None:
        transport = self.asked()
        self.line.protocol.cancel()
        self.assertTrue(transport.disconnected)
        self.hear(OK + b"\r\n")
        self.lose(ConnectionDone())
        self.assertEqual(self.ends, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled_while_connecting(self) -> None:
        self.probe().cancel()
        self.assertTrue(self.line.connect().disconnected)
        self.assertEqual(self.ends, [])
