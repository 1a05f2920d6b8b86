"""Real sockets on loopback for the tests of embedding: clients on bytes, and scripted origins."""

import os
import tempfile

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from txrproxy.config.build import build
from txrproxy.config.toml import loads
from txrproxy.transport.direct import direct_port


async def turn():
    """One turn of the loop."""
    await deferLater(reactor, 0, lambda: None)


async def eventually(condition):
    """Turn the loop until the condition holds; trial's timeout bounds it."""
    while not condition():
        await turn()


class Wire(Protocol):
    """A peer on bytes; ``lost`` fires when the connection is gone."""

    def __init__(self):
        self._data = bytearray()
        self.gone = None  # why it is gone
        self.lost = Deferred()
        self._waiting = None

    @property
    def data(self):
        """What has arrived and was not taken off."""
        return bytes(self._data)

    @property
    def size(self):
        return len(self._data)

    def dataReceived(self, data):
        self._data += data
        self._look()

    def connectionLost(self, reason):
        self.gone = reason
        self.lost.callback(None)
        if self._waiting is not None:
            self._waiting[1].errback(AssertionError(f"connection lost with {self.data!r}"))

    def send(self, data):
        self.transport.write(data)

    def until(self, end):
        """What has arrived up to and with ``end``, taken off."""
        assert self._waiting is None
        found = Deferred()
        self._waiting = (end, found)
        self._look()
        return found

    def _look(self):
        if self._waiting is not None and self._waiting[0] in self._data:
            (end, found), self._waiting = self._waiting, None
            stop = self._data.index(end) + len(end)
            text = bytes(self._data[:stop])
            del self._data[:stop]
            found.callback(text)


class Response:
    """A response, as it came over a connection that closed after it."""

    def __init__(self, data):
        start, _, self.body = data.partition(b"\r\n\r\n")
        line, *fields = start.split(b"\r\n")
        self.status = int(line.split(b" ")[1])
        self.line = line
        self.fields = [tuple(field.split(b": ", 1)) for field in fields]

    def all(self, name):
        return [value for found, value in self.fields if found.lower() == name]

    def first(self, name):
        return (self.all(name) or [None])[0]

    @property
    def chunks(self):
        """The content of a chunked body, which must be complete."""
        content, rest = b"", self.body
        while True:
            size, _, rest = rest.partition(b"\r\n")
            size = int(size, 16)
            if not size:
                assert rest == b"\r\n", rest
                return content
            content += rest[:size]
            assert rest[size : size + 2] == b"\r\n", rest
            rest = rest[size + 2 :]


class Log(list):
    """An access log in memory."""

    enabled = True

    @property
    def reasons(self):
        return [record[15] for record in self]


class Sockets:
    """To be mixed into a ``TestCase``: everything that it opens is closed at the end."""

    timeout = 30

    def listen(self, factory):
        """Listen on a free port of loopback; the port number."""
        port = direct_port(reactor.listenTCP(0, factory, interface="127.0.0.1"))
        self.addCleanup(port.stopListening)
        return port.getHost().port

    async def connect(self, port):
        return await self._connect(TCP4ClientEndpoint(reactor, "127.0.0.1", port))

    async def _connect(self, endpoint):
        wire = await connectProtocol(endpoint, Wire())
        self.addCleanup(lambda: None if wire.gone else wire.lost)
        self.addCleanup(wire.transport.abortConnection)
        return wire

    async def ask(self, port, head, body=b""):
        """One exchange on a connection that is closed after it; ``head`` without Host."""
        return await self._ask(await self.connect(port), head, body)

    async def ask_unix(self, factory, head):
        """The same of a factory that listens on a unix socket."""
        path = os.path.join(tempfile.mkdtemp(), "s")  # a socket's name must be short
        port = direct_port(reactor.listenUNIX(path, factory))
        self.addCleanup(os.rmdir, os.path.dirname(path))
        self.addCleanup(port.stopListening)
        return await self._ask(await self._connect(UNIXClientEndpoint(reactor, path)), head)

    async def _ask(self, wire, head, body=b""):
        start, _, fields = head.partition("\r\n")
        if not start.endswith("HTTP/1.0"):
            fields = "Host: example.com\r\nConnection: close\r\n" + fields
        wire.send(f"{start}\r\n{fields}\r\n".encode() + body)
        await wire.lost
        return Response(wire.data)

    def graph(self, text):
        """The live objects of a configuration, and its log."""
        log = Log()
        graph = build(loads(text), reactor, log)

        async def stop():
            graph.abort()
            await eventually(lambda: not graph.busy)
            graph.close()

        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))
        return graph, log

    def origin(self, script):
        """A server whose connections are played by ``script(wire)``, a coroutine function."""
        origin = Origin(script)
        self.addCleanup(lambda: Deferred.fromCoroutine(origin.stop()))
        origin.port = self.listen(origin)
        return origin


class Origin(Factory):
    """Plays a script on each connection."""

    def __init__(self, script):
        self.script = script
        self.wires = []
        self.played = []

    def buildProtocol(self, addr):
        wire = OriginWire()
        wire.play = self._play
        self.wires.append(wire)
        return wire

    def _play(self, wire):
        self.played.append(Deferred.fromCoroutine(self.script(wire)))
        self.played[-1].addErrback(lambda failure: None if wire.gone else failure)

    async def stop(self):
        for wire in self.wires:
            if not wire.gone:
                wire.transport.abortConnection()
                await wire.lost
        for played in self.played:
            await played


class OriginWire(Wire):
    def connectionMade(self):
        self.play(self)
