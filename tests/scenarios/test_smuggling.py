"""The smuggling table through a real proxy, to an origin that writes down all it gets.

Every case is a connection of its own. What a head is refused for is answered without a byte to the
origin; a body that breaks ends with 400 and at most the one request that it belongs to.
"""

from __future__ import annotations

import re
from typing import Any

import h11
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.http.smuggling import BODIES, HARMLESS, HEADS, SMUGGLED
from txrproxy.config.build import build
from txrproxy.config.graph import Graph
from txrproxy.config.toml import loads
from txrproxy.errors import REASONS
from txrproxy.observe.accesslog import NullLog

# Several at a time, and not all: the kernel's backlog is finite.
AT_ONCE = 40

_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] [0-9]{3} ")

CONFIG = """
version = 1

[server]
workers = 0

[listeners.http]
bind = ["127.0.0.1:0"]

[pools.app]
backends = ["http://127.0.0.1:{port}"]

[[routes]]
name = "all"
pool = "app"
"""


class Origin(Protocol):
    """Writes down what it gets, and answers what h11 takes for a request."""

    factory: OriginFactory

    def __init__(self) -> None:
        self.data = b""
        self.requests: list[list[bytes]] = []
        self._parser = h11.Connection(h11.SERVER)

    def connectionMade(self) -> None:
        self.factory.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self._parser.receive_data(data)
        while True:
            event = self._parser.next_event()
            if isinstance(event, h11.Request):
                self.requests.append([event.method, event.target, b""])
            elif isinstance(event, h11.Data):
                self.requests[-1][2] += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                response = h11.Response(status_code=200, headers=[("Content-Length", "0")])
                end = h11.EndOfMessage()
                reply = self._parser.send(response)
                assert reply is not None
                self.transport.write(reply + (self._parser.send(end) or b""))
                if self._parser.our_state is h11.DONE is self._parser.their_state:
                    self._parser.start_next_cycle()
            else:
                return

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.gone(self)


class OriginFactory(Factory):
    protocol = Origin
    noisy = False

    def __init__(self) -> None:
        self.connections: list[Origin] = []
        self.open = 0
        self.closed: Deferred[None] | None = None

    def buildProtocol(self, addr: Any) -> Any:
        self.open += 1
        return super().buildProtocol(addr)

    def gone(self, origin: Origin) -> None:
        self.open -= 1
        if not self.open and self.closed is not None:
            self.closed.callback(None)

    @property
    def data(self) -> bytes:
        return b"".join(origin.data for origin in self.connections)

    @property
    def requests(self) -> list[tuple[bytes, ...]]:
        return [tuple(request) for origin in self.connections for request in origin.requests]


class Client(Protocol):
    """Sends one case, and gathers what comes until the proxy closes (or ``wanted`` responses)."""

    def __init__(self, sends: bytes, wanted: int = 0) -> None:
        self.data = b""
        self.done: Deferred[bytes] = Deferred()
        self._sends = sends
        self._wanted = wanted

    def connectionMade(self) -> None:
        self.transport.write(self._sends)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if self._wanted and self.data.count(b"Content-Length: 0\r\n") == self._wanted:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(self.data)


class _Clients(Factory):
    noisy = False

    def __init__(self, client: Client) -> None:
        self._client = client

    def doStart(self) -> None: ...

    def startedConnecting(self, connector: Any) -> None: ...

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None: ...

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._client.done.errback(reason)

    def buildProtocol(self, addr: Any) -> Client:
        return self._client


class SmugglingTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.origin = OriginFactory()
        self._origin_port = reactor.listenTCP(0, self.origin, interface="127.0.0.1")
        config = loads(CONFIG.format(port=self._origin_port.getHost().port))
        self.graph: Graph = build(config, reactor, NullLog())
        site = self.graph.sites[0][1]
        self._port = reactor.listenTCP(0, site, interface="127.0.0.1", backlog=200)

    async def tearDown(self) -> None:
        await self._port.stopListening()
        self.graph.abort()
        self.graph.close()
        if self.origin.open:
            self.origin.closed = Deferred()
            await self.origin.closed
        await self._origin_port.stopListening()

    def send(self, data: bytes, wanted: int = 0) -> Deferred[bytes]:
        client = Client(data, wanted)
        port = self._port.getHost().port
        reactor.connectTCP("127.0.0.1", port, _Clients(client))
        return client.done

    def refused(self, name: str, answer: bytes, reason: str) -> None:
        """One response, with the status of the reason, and the connection is closed."""
        status = REASONS[reason].status
        self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), (name, answer))
        self.assertEqual(len(_STATUS_LINE.findall(answer)), 1, (name, answer))
        self.assertIn(b"\r\nConnection: close\r\n", answer, name)

    async def test_heads(self) -> None:
        for start in range(0, len(HEADS), AT_ONCE):
            cases = HEADS[start : start + AT_ONCE]
            answers = await gatherResults([self.send(data + SMUGGLED) for _, data, _ in cases])
            for (name, _, reason), answer in zip(cases, answers, strict=True):
                self.refused(name, answer, reason)
            self.assertEqual(self.origin.connections, [])

    async def test_heads_after_a_good_request(self) -> None:
        """The connection to the origin is open by then, and still nothing goes there."""
        good = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n"
        for start in range(0, len(HEADS), AT_ONCE):
            cases = HEADS[start : start + AT_ONCE]
            answers = await gatherResults(
                [self.send(good + data + SMUGGLED) for _, data, _ in cases]
            )
            for (name, _, reason), answer in zip(cases, answers, strict=True):
                first, _, rest = answer.partition(b"\r\n\r\n")
                self.assertTrue(first.startswith(b"HTTP/1.1 200 "), (name, answer))
                self.refused(name, rest, reason)
        requests = self.origin.requests
        self.assertEqual(set(requests), {(b"GET", b"/good", b"")})
        self.assertEqual(len(requests), len(HEADS))
        self.assertEqual(self.origin.data.count(b"HTTP/1.1\r\n"), len(HEADS))

    async def test_bodies(self) -> None:
        for start in range(0, len(BODIES), AT_ONCE):
            cases = BODIES[start : start + AT_ONCE]
            answers = await gatherResults([self.send(data + SMUGGLED) for _, data, _ in cases])
            for (name, _, reason), answer in zip(cases, answers, strict=True):
                self.refused(name, answer, reason)
        self.no_second_request()

    async def test_bodies_in_two_pieces(self) -> None:
        """The head is at the origin when the body breaks."""
        for name, data, reason in BODIES:
            head, separator, body = data.partition(b"\r\n\r\n")
            client = Client(head + separator)
            port = self._port.getHost().port
            reactor.connectTCP("127.0.0.1", port, _Clients(client))
            count = len(self.origin.connections)
            while len(self.origin.connections) == count or not self.origin.connections[-1].data:
                turn: Deferred[None] = Deferred()
                reactor.callLater(0, turn.callback, None)
                await turn
            client.transport.write(body + SMUGGLED)
            self.refused(name, await client.done, reason)
            self.assertEqual(len(self.origin.connections), count + 1)
        self.no_second_request()

    def no_second_request(self) -> None:
        for origin in self.origin.connections:
            self.assertLessEqual(len(origin.requests), 1)
            self.assertEqual(origin.data.count(b" HTTP/1."), len(origin.requests), origin.data)
            self.assertNotIn(b"/smuggled", origin.data)
            # A broken body has no end.
            self.assertFalse(origin.data.endswith(b"\r\n0\r\n\r\n"), origin.data)

    async def test_harmless(self) -> None:
        for name, data, expected, unseen in HARMLESS:
            if not expected:
                continue
            seen = len(self.origin.requests), len(self.origin.data)
            answer = await self.send(data, len(expected))
            self.assertEqual(answer.count(b"HTTP/1.1 200 "), len(expected), (name, answer))
            self.assertEqual(self.origin.requests[seen[0] :], expected, name)
            for text in unseen:
                self.assertNotIn(text, self.origin.data[seen[1] :], name)

    async def test_a_long_body_is_no_request(self) -> None:
        """More than 32 bits of it."""
        (data,) = (case[1] for case in HARMLESS if not case[2])
        client = Client(data)
        reactor.connectTCP("127.0.0.1", self._port.getHost().port, _Clients(client))
        while SMUGGLED not in self.origin.data:
            turn: Deferred[None] = Deferred()
            reactor.callLater(0, turn.callback, None)
            await turn
        self.assertEqual(self.origin.requests, [(b"POST", b"/", b"hello" + SMUGGLED)])
        self.assertIn(b"Content-Length: 4294967301\r\n", self.origin.data)
        client.transport.abortConnection()
        await client.done
