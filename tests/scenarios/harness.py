"""Scenarios: the whole proxy on loopback, told as a conversation.

::

    origin = await self.origin()
    proxy = await self.proxy(origin)
    client = await self.client(proxy)

    client.send(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    request = await origin.request()
    origin.reply(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi")
    response = await client.response()

The proxy is built from the text of a configuration file, as in production, and runs on the reactor
of the test. Where a deadline is to expire, ``proxy(timed=True)`` gives it a clock of its own, which
``wait`` moves on; the few that are Twisted's own are set short. A test leaves nothing behind: when
it ends, all its connections are gone, and trial looks for the rest.
"""

import socket
from types import SimpleNamespace

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from tests.scenarios.inside import Inside
from tests.scenarios.wire import PATIENCE, Changing, ClientWire, Origin
from txrproxy.balance import select
from txrproxy.config.build import build
from txrproxy.config.toml import loads
from txrproxy.transport.direct import direct_port

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
EMPTY_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
MIB = 1024 * 1024

_NAMES = [
    "time",
    "client",
    "method",
    "target",
    "version",
    "host",
    "status",
    "bytes_in",
    "bytes_out",
    "route",
    "pool",
    "backend",
    "connect",
    "first_byte",
    "total",
    "reason",
    "request_id",
    "user_agent",
    "referer",
    "way",
    "notes",
]


def ok(body=b"", *fields):
    """A plain response."""
    lines = b"".join(line + b"\r\n" for line in fields)
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), lines, body)


class Record:
    """One record of the access log, by name."""

    def __init__(self, record):
        assert len(record) == len(_NAMES)
        self.__dict__.update(zip(_NAMES, record, strict=True))
        self.notes = dict(self.notes)
        self.client_cert = self.notes.get(b"client_cert", b"")

    def __repr__(self):
        return f"<Record {vars(self)}>"


class ListLog(Changing):
    """An access log that can be read."""

    enabled = True

    def __init__(self):
        super().__init__()
        self.records = []

    def append(self, record):
        self.records.append(Record(record))
        self.changed()

    def seen(self):
        return f"the log has {self.records}"

    async def record(self, number=1):
        """The record with this number, counted from 1."""
        await self.until(lambda: len(self.records) >= number, f"record {number}")
        return self.records[number - 1]

    @property
    def reasons(self):
        return [record.reason for record in self.records]


class Proxy:
    """A running proxy: its live objects, its port and its log."""

    def __init__(self, graph, port, log, clock):
        self.graph = graph
        self._clock = clock
        self.port = port
        self.log = log
        self.address = ("127.0.0.1", port.getHost().port)
        self.site = graph.sites[0][1]

    def wait(self, seconds):
        """Let time pass for the deadlines of a timed proxy."""
        self._clock.pump([0.25] * round(seconds * 4))

    @property
    def authority(self):
        return b"127.0.0.1:%d" % self.address[1]

    def backends(self, pool="app"):
        return self.graph.pools[pool].backends

    def idle(self, pool="app"):
        """Idle connections to backends."""
        return sum(len(backend.connections.idle) for backend in self.backends(pool))


class Timed:
    """The reactor, but for its time."""

    def __init__(self, clock):
        self.seconds = clock.seconds
        self.callLater = clock.callLater

    def __getattr__(self, name):
        return getattr(reactor, name)


class _First:
    """In place of a source of random numbers."""

    def random(self):
        return 0.0


class Scenario(TestCase):
    """One conversation for each test."""

    timeout = 120

    def setUp(self):
        # Round robin begins anywhere; a conversation has to know with whom.
        self.patch(select, "random", SimpleNamespace(Random=_First))
        self._before = set(reactor.getReaders()) | set(reactor.getWriters())
        self._wires = []
        self._origins = []
        self._proxies = []
        self.inside = Inside(self._pools)
        self.addCleanup(self._end)

    async def _end(self):
        for wire in self._wires + [wire for origin in self._origins for wire in origin.wires]:
            if wire.transport is not None and wire.ending is None:
                wire.transport.abortConnection()
        for proxy in self._proxies:
            await maybeDeferred(proxy.port.stopListening)
            proxy.graph.abort()
            proxy.graph.close()
        for origin in self._origins:
            await origin.stop()
        await self.until(lambda: not self._leftovers(), "all connections to be gone")
        for proxy in self._proxies:
            proxy.graph.deadlines.close()
            for pool in proxy.graph.pools.values():
                for backend in pool.backends:
                    await self.until(lambda b=backend: not b.in_use, f"{backend} to be let go of")
        self.assertEqual(self.inside.found, [], "clients were told of the inside")

    def _pools(self):
        """The pools of all proxies, as they are now."""
        return [pool for proxy in self._proxies for pool in proxy.graph.pools.values()]

    def meet(self, wire):
        """A client of this scenario: it is closed at the end, and sees nothing of the inside."""
        self._wires.append(wire)
        wire.inside = self.inside
        return wire

    def _leftovers(self):
        """What is registered with the reactor that was not before, its own wakers apart."""
        now = set(reactor.getReaders()) | set(reactor.getWriters())
        return now - self._before - reactor._internalReaders

    async def until(self, ready, what):
        """Wait for something that nobody tells of: look again on every turn of the loop."""
        deadline = reactor.seconds() + PATIENCE
        while not (found := ready()):
            if reactor.seconds() > deadline:
                self.fail(f"waited in vain for {what}; left {self._leftovers()}")
            await deferLater(reactor, 0.001, lambda: None)
        return found

    async def turns(self, count=20):
        """Let the loop turn: for what must *not* happen, and would at once."""
        for _ in range(count):
            await deferLater(reactor, 0, lambda: None)

    def later(self, coroutine):
        """Begin to wait for something now, to be awaited later."""
        return ensureDeferred(coroutine)

    # The parties.

    async def origin(self, name="origin", unix=None, interface="127.0.0.1"):
        origin = Origin(name)
        if unix:
            origin.port = reactor.listenUNIX(unix, origin)
        else:
            origin.port = reactor.listenTCP(0, origin, interface=interface)
        self._origins.append(origin)
        self.inside.add(*origin.secrets)
        return origin

    def config(self, *backends, listener="", pool="", route="", policy="", server="", more=""):
        """The text of a file with one listener, one pool and one route."""
        urls = ", ".join(b if b.startswith("{") else f'"{b}"' for b in backends)
        use = 'use = ["rules"]' if policy else ""
        rules = f"[policies.rules]\n{policy}" if policy else ""
        return f"""
            version = 1
            [server]
            {server}
            [listeners.http]
            bind = ["127.0.0.1:0"]
            {listener}
            [pools.app]
            backends = [{urls}]
            {pool}
            {rules}
            {more}
            [[routes]]
            name = "all"
            match = {{}}
            pool = "app"
            {use}
            {route}
        """

    async def proxy(self, *backends, toml=None, timed=False, **parts):
        """A proxy before these origins (or URLs, or inline tables); or of a whole file."""
        if toml is None:
            urls = [b if isinstance(b, str) else b.url for b in backends]
            toml = self.config(*urls, **parts)
        log = ListLog()
        clock = Clock()
        graph = build(loads(toml), Timed(clock) if timed else reactor, log)
        port = reactor.listenTCP(0, graph.sites[0][1], interface="127.0.0.1")
        graph.limit.add(direct_port(port))
        proxy = Proxy(graph, port, log, clock)
        self._proxies.append(proxy)
        return proxy

    async def client(self, proxy, receive_buffer=None):
        wire = self.meet(ClientWire(f"client #{len(self._wires) + 1}"))
        await connectProtocol(TCP4ClientEndpoint(reactor, *proxy.address), wire)
        if receive_buffer:
            wire.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        return wire

    async def pair(self, **parts):
        """The usual three: an origin, a proxy before it, a client."""
        origin = await self.origin()
        proxy = await self.proxy(origin, **parts)
        return origin, proxy, await self.client(proxy)

    async def exchange(self, client, origin, request=GET, reply=EMPTY_OK):
        """One plain exchange: the request as the origin saw it, the response as the client did."""
        client.send(request)
        seen = await origin.request()
        origin.reply(reply)
        return seen, await client.response(to=request.split(b" ")[0])

    async def ask(self, client, request):
        """One exchange that the proxy answers itself."""
        client.send(request)
        return await client.response(to=request.split(b" ")[0])


class Refusing:
    """An address of loopback at which nobody listens."""

    def __init__(self):
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self):
        self._socket.close()
