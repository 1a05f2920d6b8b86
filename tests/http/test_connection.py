"""Both readers: every wire case whole, byte by byte, in random pieces, and with more behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.http.conversation import (
    Client,
    Event,
    Server,
    requests,
    responses,
    split_at,
    splits,
)
from txrproxy.http import connection as module
from txrproxy.http.connection import (
    BODY,
    BROKEN,
    BUSY,
    DISCARD,
    HEAD,
    IDLE,
    MAX_INFORMATIONAL,
    MAX_RESPONSE_FIELDS,
    MAX_RESPONSE_HEAD,
    TUNNEL,
    RequestReader,
    ResponseReader,
)
from txrproxy.http.fields import EMPTY
from txrproxy.http.head import MAX_METHOD, MAX_REQUEST_LINE, MAX_TARGET

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GOT: Event = ("request", b"GET", b"/", b"a", b"Host: a\r\n")


def request(method: bytes, block: bytes, target: bytes = b"/") -> Event:
    return ("request", method, target, b"a", b"Host: a\r\n" + block)


# Bytes from a client, and what they become.
REQUESTS: list[tuple[bytes, list[Event]]] = [
    (GET, [GOT]),
    (b"\r\n" + GET, [GOT]),
    (b"\r\n\r\n" + GET, [GOT]),
    (b"GET / HTTP/1.0\r\n\r\n", [("request", b"GET", b"/", b"", b"")]),
    (b"GET / HTTP/1.0\r\nA:b\r\n\r\n", [("request", b"GET", b"/", b"", b"A: b\r\n")]),
    (
        b"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
        [("request", b"GET", b"/b", b"a", b"Host: a\r\n")],
    ),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        [request(b"POST", b"Content-Length: 5\r\n"), ("body", b"hello", b"")],
    ),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        [request(b"POST", b"Content-Length: 0\r\n")],
    ),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
        [request(b"POST", b"Content-Length: 4\r\n"), ("body", b"\r\n\r\n", b"")],
    ),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;x\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n",
        [request(b"POST", b"Transfer-Encoding: chunked\r\n"), ("body", b"hello!", b"A: b\r\n")],
    ),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        [request(b"POST", b"Transfer-Encoding: chunked\r\n"), ("body", b"", b"")],
    ),
]

# Bytes from a client that end the connection, and the one reason, whatever the split.
REFUSED: list[tuple[bytes, str]] = [
    (b"\n", "bad_request_line"),
    (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line"),
    (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line"),
    (b"\r\r\n", "bad_request_line"),
    (b"\r\n GET / HTTP/1.1\r\n\r\n", "bad_request_line"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "bad_request_line"),
    (b"\x00", "bad_request_line"),
    (b"GET / HTTP/1.1\nHost: a\n\n", "bad_request_line"),
    (b"GET / HTTP/1.1\rHost: a\r\n\r\n", "bad_request_line"),
    (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "bad_request_line"),
    (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", "bad_field"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\n", "bad_field"),
    (b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n", "bad_field"),
    (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "bad_field"),
    (b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", "bad_field"),
    # The first fault of several.
    (b"GET / HTTP/3.0\r\nHost: a\nX: y\r\n\r\n", "bad_field"),
    (b"GET  / HTTP/9\nHost : a\r\n\r\n", "bad_request_line"),
    (b"GET / HTTP/1.1\r\nHost : a\r\nX: y\n\r\n\r\n", "bad_field"),
    (b"GET / HTTP/2.0\r\n\r\n", "version_unsupported"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version_unsupported"),
    (b"GET / HTTP/1.1\r\n\r\n", "bad_host"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "bad_field"),
    (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_method"),
    (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target"),
]

LIMITS: list[tuple[bytes, dict[str, int], str]] = [
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200 + b"\r\n\r\n", {"max_head": 100}, "head"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200, {"max_head": 100}, "head"),
    (b"GET /" + b"a" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n", {"max_head": 100}, "target"),
    (b"GET /" + b"a" * 200, {"max_head": 100}, "target"),
    # A fault within the bound comes first, one beyond it never.
    (b"GET / HTTP/1.1\r\nX: y\n" + b"y" * 200 + b"\r\n\r\n", {"max_head": 100}, "bad_field"),
    (b"GET / HTTP/1.1\r\nX: " + b"y" * 200 + b"\n\r\n\r\n", {"max_head": 100}, "head"),
    (b"GET / HTTP/1.1\r\nX: " + b"y" * 78 + b"\r\r", {"max_head": 100}, "bad_field"),
    (b"GET / HTTP/1.1\r\nX: " + b"y" * 80 + b"\r\r", {"max_head": 100}, "head"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nA: b\r\n\r\n", {"max_fields": 2}, "too_many_fields"),
]
_LONG_NAMES = {"head": "head_too_large", "target": "target_too_long"}


class RequestReaderTests(SynchronousTestCase):
    def test_every_split(self) -> None:
        for data, events in REQUESTS:
            for pieces in splits(data):
                self.assertEqual(requests(pieces), events, pieces)

    def test_with_more_behind(self) -> None:
        for data, events in REQUESTS:
            for more, further in REQUESTS:
                for pieces in ([data + more], split_at(data + more, range(0, 9999, 7))):
                    self.assertEqual(requests(pieces), events + further, pieces)

    def test_every_prefix_is_unfinished(self) -> None:
        for data, events in REQUESTS:
            for end in range(1, len(data)):
                got = requests([data[:end]])
                leading = data[:end].strip(b"\r\n") == b""
                if not leading or data[:end].endswith(b"\r"):
                    self.assertEqual(got[-1][0], "unfinished", data[:end])
                self.assertTrue(len(got) <= len(events) + 1)

    def test_refused(self) -> None:
        for data, reason in REFUSED:
            for pieces in splits(data):
                self.assertEqual(requests(pieces), [("bad", reason)], pieces)

    def test_refused_after_a_good_one(self) -> None:
        for data, reason in REFUSED:
            for pieces in ([GET + data], [GET, data], split_at(GET + data, range(0, 200, 3))):
                self.assertEqual(requests(pieces), [GOT, ("bad", reason)], pieces)

    def test_nothing_after_a_refusal(self) -> None:
        for data, reason in REFUSED:
            for pieces in ([data + b"\r\n\r\n" + GET], [data, b"\r\n\r\n", GET]):
                if reason != "bad_host":
                    self.assertEqual(requests(pieces), [("bad", reason)], pieces)

    def test_limits(self) -> None:
        for data, limits, name in LIMITS:
            for pieces in splits(data):
                expected = [("bad", _LONG_NAMES.get(name, name))]
                self.assertEqual(requests(pieces, **limits), expected, (limits, pieces))

    def test_the_largest_head(self) -> None:
        for pieces in splits(GET):
            self.assertEqual(requests(pieces, max_head=len(GET)), [GOT])
            self.assertEqual(requests(pieces, max_head=len(GET) - 1), [("bad", "head_too_large")])

    def test_empty_lines_before_a_request_are_no_part_of_it(self) -> None:
        for pieces in splits(b"\r\n" * 40 + GET):
            self.assertEqual(requests(pieces, max_head=len(GET)), [GOT])

    def test_the_most_fields(self) -> None:
        data = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
        self.assertEqual(requests([data], max_fields=2), [request(b"GET", b"X: y\r\n")])

    def test_the_longest_request_line(self) -> None:
        """The same one is taken, however it comes."""
        target = b"/" + b"a" * (MAX_TARGET - 1)
        method = b"M" * MAX_METHOD
        data = b"%b %b HTTP/1.1\r\nHost: a\r\n\r\n" % (method, target)
        self.assertEqual(data.index(b"\r\n") + 2, MAX_REQUEST_LINE)
        for place in (1, MAX_TARGET, MAX_TARGET + 1, MAX_REQUEST_LINE - 2, MAX_REQUEST_LINE - 1):
            events = requests([data[:place], data[place:]])
            self.assertEqual(events, [request(method, b"", target)], place)
        for pieces in ([data[:-20]], [data[:9], data[9:-20]]):
            self.assertEqual(requests(pieces)[-1], ("unfinished", HEAD))

    def test_a_request_line_that_never_ends(self) -> None:
        for line in (b"GET /" + b"a" * MAX_REQUEST_LINE, b"M" * MAX_REQUEST_LINE):
            for places in ([], [1], [MAX_REQUEST_LINE - 1], [100, MAX_TARGET]):
                events = requests(split_at(line, places))
                self.assertEqual(events, [("bad", "target_too_long")])
                line_ended = line + b" HTTP/1.1\r\nHost: a\r\n\r\n"
                self.assertEqual(requests(split_at(line_ended, places)), events)

    def test_broken_chunks(self) -> None:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for body in (b"5 \r\nhello\r\n", b"5\r\nhello0\r\n", b"0\r\nA : b\r\n\r\n", b"g"):
            for pieces in splits(head + body + GET):
                events = requests(pieces)
                self.assertEqual([event[0] for event in events], ["request", "bad"], pieces)
                self.assertEqual(events[1], ("bad", "bad_chunk"))

    def test_pipelined_requests_wait(self) -> None:
        server = Server(later=True)
        server.receive(GET + GET[:5])
        self.assertEqual((server.events, server.state, server.buffered), ([GOT], BUSY, 5))
        server.receive(GET[5:] + b"\r\n" + GET)
        self.assertEqual((server.pipelined, server.buffered), (2, 2 * len(GET) + 2))
        server.answer()
        self.assertEqual((server.events, server.buffered), ([GOT] * 2, len(GET) + 2))
        server.answer()
        self.assertEqual((server.events, server.buffered), ([GOT] * 3, 0))
        server.answer()
        self.assertEqual((server.state, server.buffered), (HEAD, 0))
        server.receive(GET)
        self.assertEqual(server.events, [GOT] * 4)

    def test_a_body_does_not_wait(self) -> None:
        server = Server(later=True)
        server.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab")
        self.assertEqual(server.state, BODY)
        server.receive(b"c" + GET)
        self.assertEqual(server.events[-1], ("body", b"abc", b""))
        self.assertEqual((server.state, server.buffered), (BUSY, len(GET)))
        server.answer()
        self.assertEqual(server.events[-1], GOT)

    def test_many_pipelined_at_once_do_not_recurse(self) -> None:
        server = Server()
        server.receive(GET * 5000)
        while server.state is BUSY:
            server.proceed()
        self.assertEqual(len(server.events), 5000)
        server = Server(later=True)
        server.receive(GET * 3)
        server._later = False
        server.answer()
        self.assertEqual(len(server.events), 3)

    def test_trailers_are_those_of_the_last_body(self) -> None:
        server = Server(later=True)
        server.receive(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n"
        )
        self.assertEqual(server.trailers.block, b"A: b\r\n")
        server.answer()
        self.assertIs(server.trailers, EMPTY)

    def test_incomplete_heads_are_told(self) -> None:
        server = Server()
        server.receive(b"\r\n")
        self.assertEqual(server.incomplete, 0)
        for byte in GET:
            server.receive(bytes([byte]))
        self.assertEqual(server.incomplete, 1)

    def test_stopped(self) -> None:
        for before in (b"", b"GET", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab"):
            server = Server()
            server.receive(before)
            server.stop()
            events = list(server.events)
            server.receive(GET)
            self.assertEqual(server.events, events)
            self.assertEqual((server.state, server.buffered), (DISCARD, 0))

    def test_stopped_in_the_middle(self) -> None:
        class Once(Server):
            __slots__ = ()

            def on_body(self, content: bytes, ended: bool) -> None:
                self.stop()

        server = Once()
        server.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + GET)
        self.assertEqual(len(server.events), 1)

    @settings(deadline=None)
    @given(st.binary(max_size=40), st.lists(st.integers(0, 140), max_size=10))
    def test_garbage_in_any_split(self, garbage: bytes, places: list[int]) -> None:
        for data in (
            garbage,
            GET + garbage,
            GET[:-2] + garbage + b"\r\n\r\n",
            b"GET /" + garbage + GET[5:],
        ):
            cut = sorted(place for place in places if place <= len(data))
            self.assertEqual(requests([data]), requests(split_at(data, cut)))


# Bytes from a backend, and what they become for a GET.
OK = b"HTTP/1.1 200 OK\r\n"
RESPONSES: list[tuple[bytes, list[Event]]] = [
    (
        OK + b"Content-Length: 5\r\n\r\nhello",
        [("response", 200, b"Content-Length: 5\r\n", 5), ("body", b"hello", b"")],
    ),
    (
        OK + b"Content-Length: 0\r\n\r\n",
        [("response", 200, b"Content-Length: 0\r\n", 0), ("body", b"", b"")],
    ),
    (
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        [("response", 200, b"Transfer-Encoding: chunked\r\n", -1), ("body", b"abc", b"")],
    ),
    (
        OK + b"Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nA: b\r\n\r\n",
        [("response", 200, b"Transfer-Encoding: chunked\r\n", -1), ("body", b"abc", b"A: b\r\n")],
    ),
    (
        b"HTTP/1.1 204 No Content\r\n\r\n",
        [("response", 204, b"", 0), ("body", b"", b"")],
    ),
    (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        [("response", 304, b"Content-Length: 9\r\n", 0), ("body", b"", b"")],
    ),
    (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\n"
        b"HTTP/1.0 404 No\r\nContent-Length: 1\r\n\r\nx",
        [
            ("informational", 100),
            ("informational", 103),
            ("response", 404, b"Content-Length: 1\r\n", 1),
            ("body", b"x", b""),
        ],
    ),
]

UNTIL_CLOSE: list[tuple[bytes, list[Event]]] = [
    (OK + b"\r\nhello", [("response", 200, b"", -2), ("body", b"hello", b"")]),
    (OK + b"\r\n", [("response", 200, b"", -2), ("body", b"", b"")]),
]

BAD_RESPONSES: list[bytes] = [
    b"\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    b"HTTP/2 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    b"HTTP/1.1 999 Odd\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"hello",
    OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    OK + b"Content-Length: 1, 1\r\n\r\n",
    OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
    OK + b"Transfer-Encoding: gzip\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MAX_INFORMATIONAL + 1),
]


class ResponseReaderTests(SynchronousTestCase):
    def test_every_split(self) -> None:
        for data, events in RESPONSES:
            for pieces in splits(data):
                self.assertEqual(responses(pieces), events, pieces)

    def test_the_connection_can_be_used_again(self) -> None:
        for data, events in RESPONSES:
            for pieces in splits(data):
                client = Client([b"GET", b"GET"])
                for piece in pieces:
                    client.receive(piece)
                self.assertIs(client.state, IDLE)
                client.next()
                self.assertIs(client.trailers, EMPTY)
                for piece in pieces:
                    client.receive(piece)
                self.assertEqual(client.events, events * 2)

    def test_with_more_behind(self) -> None:
        """It answers nothing that was asked: the response counts, the connection does not."""
        for data, events in RESPONSES:
            for more in (b"x", data, b"\r\n"):
                client = Client()
                client.receive(data + more)
                self.assertEqual((client.events, client.state), (events, BROKEN), data)
                client.receive(data)
                self.assertEqual(client.events, events)

    def test_unsolicited(self) -> None:
        for data, events in RESPONSES:
            client = Client()
            client.receive(data)
            client.receive(b"\r")
            client.receive(b"\n")
            self.assertEqual((client.events, client.state), ([*events, ("unsolicited",)], BROKEN))
        client = Client([])
        client.receive(OK)
        self.assertEqual(client.events, [("unsolicited",)])

    def test_every_prefix_is_unfinished(self) -> None:
        for data, _ in RESPONSES:
            for end in range(len(data)):
                client = Client()
                client.receive(data[:end])
                self.assertFalse(client.end_of_input(), data[:end])
                self.assertIn(client.state, (HEAD, BODY))

    def test_until_close(self) -> None:
        for data, events in UNTIL_CLOSE:
            for pieces in splits(data):
                self.assertEqual(responses(pieces, closes=True), events, pieces)
            client = Client()
            client.receive(data)
            self.assertIs(client.state, BODY)
            self.assertTrue(client.end_of_input())
            self.assertIs(client.state, BROKEN)
            self.assertFalse(client.end_of_input())

    def test_to_head(self) -> None:
        for block in (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"A: b\r\n"):
            for pieces in splits(OK + block + b"\r\n"):
                events = [("response", 200, block, 0), ("body", b"", b"")]
                self.assertEqual(responses(pieces, b"HEAD"), events)

    def test_refused(self) -> None:
        for data in BAD_RESPONSES:
            for pieces in splits(data):
                self.assertEqual(responses(pieces)[-1], ("bad", "bad_response"), pieces)
                self.assertNotIn("response", [event[0] for event in responses(pieces)])

    def test_broken_body(self) -> None:
        """Before the head has gone on, it is a bad response; after that, a bad body."""
        head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
        self.assertEqual(responses([head + b"2\r\nabc"]), [("bad", "bad_response")])
        events = responses([head + b"2\r\nab", b"c", b"\r\n"])
        self.assertEqual([event[0] for event in events], ["response", "bad"])
        self.assertEqual(events[1], ("bad", "bad_response_body"))

    def test_limits(self) -> None:
        large = OK + b"A: " + b"b" * MAX_RESPONSE_HEAD
        for pieces in ([large], [large + b"\r\n\r\n"], split_at(large, range(0, len(large), 9000))):
            self.assertEqual(responses(pieces), [("bad", "response_head_too_large")])
        fits = OK + b"A: " + b"b" * (MAX_RESPONSE_HEAD - len(OK) - 7) + b"\r\n\r\n"
        for pieces in ([fits], [fits[:-1], fits[-1:]]):
            self.assertEqual(responses(pieces)[0][0], "response")
        many = OK + b"A: b\r\n" * (MAX_RESPONSE_FIELDS + 1) + b"\r\n"
        self.assertEqual(responses([many]), [("bad", "response_head_too_large")])

    def test_the_most_informational(self) -> None:
        data = b"HTTP/1.1 103 Early Hints\r\n\r\n" * MAX_INFORMATIONAL
        events = responses([data + OK + b"Content-Length: 0\r\n\r\n"])
        self.assertEqual(len(events), MAX_INFORMATIONAL + 2)

    def test_switch(self) -> None:
        data = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"
        client = Client(upgrading=True)
        client.receive(data + b"\x81\x00")
        self.assertEqual((client.events, client.state), ([("switch", b"\x81\x00")], TUNNEL))
        client.receive(b"raw")
        self.assertEqual(len(client.events), 1)
        self.assertFalse(client.end_of_input())
        for pieces in splits(data):
            self.assertEqual(responses(pieces, upgrading=True), [("switch", b"")])

    def test_a_refused_upgrade_is_a_response(self) -> None:
        for data, events in RESPONSES:
            for pieces in splits(data):
                self.assertEqual(responses(pieces, upgrading=True), events)

    def test_a_body_in_pieces(self) -> None:
        client = Client()
        client.receive(OK + b"Content-Length: 6\r\n\r\nab")
        client.receive(b"cd")
        self.assertEqual(len(client.events), 1)
        client.receive(b"ef")
        self.assertEqual(client.events[-1], ("body", b"abcdef", b""))

    @settings(deadline=None)
    @given(st.binary(max_size=40), st.lists(st.integers(0, 90), max_size=10))
    def test_garbage_in_any_split(self, garbage: bytes, places: list[int]) -> None:
        for data in (garbage, OK + garbage + b"\r\n\r\n", b"HTTP/1.1 " + garbage + b"\r\n\r\n"):
            cut = sorted(place for place in places if place <= len(data))
            whole, pieces = (
                responses([data], closes=True),
                responses(split_at(data, cut), closes=True),
            )
            self.assertEqual(without_late_faults(whole), without_late_faults(pieces))


def without_late_faults(events: list[Event]) -> list[Event]:
    """A fault of the body, or bytes after it, show before or after the head has gone on."""
    if any(event[0] in ("bad", "unsolicited") for event in events):
        return [event for event in events if event[0] == "informational"]
    return events


class HookTests(SynchronousTestCase):
    def test_a_reader_needs_its_methods(self) -> None:
        server, client = RequestReader(100, 10), ResponseReader()
        hooks: Iterable[Callable[[], None]] = (
            lambda: server.on_request(None),  # type: ignore[arg-type]
            server.on_incomplete_head,
            lambda: server.on_body(b"", True),
            server.on_pipelined,
            server.on_long_turn,
            lambda: server.on_bad_request(module.BAD_REQUEST_LINE),
            lambda: client.on_response(None, 0, b"", True),  # type: ignore[arg-type]
            lambda: client.on_informational(None),  # type: ignore[arg-type]
            lambda: client.on_switch(None, b""),  # type: ignore[arg-type]
            lambda: client.on_body(b"", True),
            lambda: client.on_bad_response(module.BAD_RESPONSE),
            client.on_unsolicited,
        )
        for hook in hooks:
            self.assertRaises(NotImplementedError, hook)

    def test_nothing_has_been_read(self) -> None:
        self.assertIs(RequestReader(100, 10).trailers, EMPTY)
        self.assertEqual(RequestReader(100, 10).buffered, 0)


class LongTurnTests(SynchronousTestCase):
    """A connection that pipelines has so many requests read in one go, and its turn again later."""

    def test_the_rest_waits_for_its_turn(self) -> None:
        server = Server()
        server.receive(GET * (2 * module.MAX_A_TURN + 3) + b"GET")
        self.assertEqual(server.events, [GOT] * module.MAX_A_TURN)
        self.assertEqual((server.long_turns, server.state), (1, BUSY))
        server.proceed()
        self.assertEqual(len(server.events), 2 * module.MAX_A_TURN)
        server.proceed()
        self.assertEqual(server.events, [GOT] * (2 * module.MAX_A_TURN + 3))
        self.assertEqual((server.long_turns, server.buffered, server.state), (2, 3, HEAD))

    def test_bytes_that_come_meanwhile_stay_in_order(self) -> None:
        server = Server()
        server.receive(GET * (module.MAX_A_TURN + 1))
        server.receive(GET.replace(b"/", b"/last", 1))
        server.proceed()
        self.assertEqual(server.events[-1][2], b"/last")
        self.assertEqual(len(server.events), module.MAX_A_TURN + 2)
