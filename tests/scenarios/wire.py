"""The far ends of the proxy in a scenario: clients and origins that speak in raw bytes.

A :class:`Wire` is one end of a connection. It does only what a scenario tells it to: nothing is
answered, acknowledged or closed on its own, except that the end which is told of a close closes
too. What it says of a message is read by a small parser of its own, so that the proxy is not judged
by its own code.

Every wait is bounded by :data:`PATIENCE` and fails with what was seen so far; no wait is for time
to pass.
"""

import hashlib
import os
import socket
import struct

from attrs import Factory, define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory as ProtocolFactory
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from tests.scenarios.inside import LONGEST

# Seconds before a scenario gives up waiting; never a measure of anything.
PATIENCE = float(os.environ.get("SCENARIO_PATIENCE", "30"))

CLOSED, RESET = "closed", "reset"


class Changing:
    """Something whose state can be waited for."""

    def __init__(self):
        self._waits = []

    def until(self, ready, what):
        """Fires with what ``ready()`` gives as soon as that is true."""
        found = ready()
        if found:
            return succeed(found)
        waiting = Deferred()

        def give_up():
            self._waits.remove(wait)
            waiting.errback(AssertionError(f"waited in vain for {what}; {self.seen()}"))

        wait = (ready, waiting, reactor.callLater(PATIENCE, give_up))
        self._waits.append(wait)
        return waiting

    def changed(self):
        for wait in list(self._waits):
            if wait not in self._waits:
                continue
            ready, waiting, timer = wait
            found = ready()
            if found:
                self._waits.remove(wait)
                timer.cancel()
                waiting.callback(found)

    def seen(self):
        """What a failure tells."""
        return repr(self)


@define
class Message:
    """A request or a response as it came over the wire.

    ``whole`` says whether it ended where its framing says; ``digest`` and ``size`` are those of the
    content, which ``body`` holds unless it was read with ``keep=False``.
    """

    start: bytes
    fields: list[tuple[bytes, bytes]]
    raw_head: bytes
    body: bytes = b""
    size: int = 0
    digest: bytes = b""
    trailers: list[tuple[bytes, bytes]] = Factory(list)
    whole: bool = True
    chunks: list[bytes] = field(factory=list, repr=False)

    def all(self, name):
        return [value for given, value in self.fields if given.lower() == name.lower()]

    def get(self, name):
        """The value of the only field with this name, or None."""
        values = self.all(name)
        if len(values) > 1:
            raise AssertionError(f"{name!r} comes {len(values)} times in {self.raw_head!r}")
        return values[0] if values else None

    @property
    def status(self):
        return int(self.start.split(b" ")[1])

    @property
    def method(self):
        return self.start.split(b" ")[0]

    @property
    def target(self):
        return self.start.split(b" ")[1]


def fields_of(block):
    """The fields of a block of lines, each ending in CRLF."""
    fields = []
    for line in block.split(b"\r\n")[:-1]:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip() or value[:1] != b" ":
            raise AssertionError(f"not as the proxy writes a field: {line!r}")
        fields.append((name, value[1:]))
    return fields


@implementer(IHalfCloseableProtocol, IPushProducer)
class Wire(Changing, Protocol):
    """One end of a connection. ``name`` is for failures."""

    def __init__(self, name="wire"):
        super().__init__()
        self.name = name
        self.received = bytearray()
        self.total = 0  # bytes received
        self.eof = False  # the other end has closed its half
        self.ending = None  # CLOSED or RESET, once both halves are gone
        self.closes_back = True
        self.blocked = False  # what was sent waits for the other end to take it
        self.reading = True
        self.disconnecting = False  # a scenario has closed it

    # What Twisted calls.

    def connectionMade(self):
        self.transport.registerProducer(self, True)
        self.changed()

    def dataReceived(self, data):
        self.received += data
        self.total += len(data)
        self.changed()

    def readConnectionLost(self):
        self.eof = True
        if self.closes_back:
            self.close()
        self.changed()

    def writeConnectionLost(self):
        """Our half is closed."""

    def connectionLost(self, reason):
        orderly = self.eof or reason.check(ConnectionDone) is not None
        self.ending = CLOSED if orderly else RESET
        self.blocked = False
        self.changed()

    def pauseProducing(self):
        self.blocked = True
        self.changed()

    def resumeProducing(self):
        self.blocked = False
        self.changed()

    def stopProducing(self):
        """Required of a producer."""

    def seen(self):
        taken = bytes(self.received[:600])
        more = f" and {len(self.received) - 600} bytes more" if len(self.received) > 600 else ""
        end = self.ending or ("half closed" if self.eof else "open")
        return f"{self.name} ({end}, {self.total} bytes in all) still has {taken!r}{more}"

    # What a scenario does.

    def send(self, data):
        self.transport.write(data)
        return self

    def taken(self):
        """Fires when the kernel has taken all that was sent."""
        return self.until(lambda: not self.blocked, "the other end to take what was sent")

    def stop_reading(self):
        self.reading = False
        self.transport.pauseProducing()

    def read_again(self):
        self.reading = True
        self.transport.resumeProducing()

    def close(self):
        self.disconnecting = True
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def half_close(self):
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()

    def reset(self):
        """Close with a reset, whatever was sent."""
        self.disconnecting = True
        if self.ending is None:
            linger = struct.pack("ii", 1, 0)
            self.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abortConnection()

    # What a scenario waits for.

    @property
    def over(self):
        """Nothing more will come."""
        return self.eof or self.ending is not None

    def ended(self):
        """Fires with CLOSED or RESET."""
        return self.until(lambda: self.ending, f"the end of {self.name}")

    def closing(self):
        """Fires when the other end has closed, its half or all."""
        return self.until(lambda: self.over, f"{self.name} to be closed by the other end")

    async def some(self):
        """What has arrived, at least a byte; b"" at the end."""
        await self.until(lambda: self.received or self.over, f"bytes on {self.name}")
        data = bytes(self.received)
        self.received.clear()
        return data

    async def exactly(self, count):
        await self.until(
            lambda: len(self.received) >= count or self.over, f"{count} bytes on {self.name}"
        )
        if len(self.received) < count:
            raise AssertionError(f"ended before {count} bytes: {self.seen()}")
        return self._take(count)

    async def up_to(self, end):
        """What arrives up to and with ``end``; less when the connection ends before."""
        await self.until(lambda: end in self.received or self.over, f"{end!r} on {self.name}")
        at = self.received.find(end)
        return self._take(len(self.received) if at < 0 else at + len(end))

    async def everything(self):
        """All that comes until the end."""
        await self.closing()
        return self._take(len(self.received))

    def _take(self, count):
        data = bytes(self.received[:count])
        del self.received[:count]
        return data

    async def head(self):
        """The next head alone."""
        raw = await self.up_to(b"\r\n\r\n")
        if not raw.endswith(b"\r\n\r\n"):
            raise AssertionError(f"ended in a head: {raw!r}; {self.seen()}")
        start, _, block = raw[:-2].partition(b"\r\n")
        return Message(start, fields_of(block), raw)

    async def body(self, message, length, keep=True):
        """Read the content that belongs to a head: a length, ``chunked`` or ``close``."""
        sink = _Sink(message, keep)
        if length == "chunked":
            await self._chunked(message, sink)
        elif length == "close":
            while data := await self.some():
                sink.add(data)
            message.whole = self.ending != RESET
        else:
            left = length
            while left and message.whole:
                await self.until(lambda: self.received or self.over, f"content on {self.name}")
                data = self._take(min(left, len(self.received)))
                message.whole = bool(data)
                sink.add(data)
                left -= len(data)
        sink.close()
        return message

    async def _chunked(self, message, sink):
        while True:
            line = await self.up_to(b"\r\n")
            if not line.endswith(b"\r\n"):
                message.whole = False
                return
            size = int(line, 16)
            if size == 0:
                break
            left = size + 2
            piece = bytearray()
            while left:
                await self.until(lambda: self.received or self.over, f"a chunk on {self.name}")
                data = self._take(min(left, len(self.received)))
                if not data:
                    message.whole = False
                    sink.add(bytes(piece[:size]))
                    return
                piece += data
                left -= len(data)
            if piece[size:] != b"\r\n":
                raise AssertionError(f"a chunk of {size} bytes ends in {bytes(piece[size:])!r}")
            sink.add(bytes(piece[:size]))
            message.chunks.append(bytes(piece[:size]) if sink.keep else b"")
        block = b""
        while (line := await self.up_to(b"\r\n")) != b"\r\n":
            if not line.endswith(b"\r\n"):
                message.whole = False
                return
            block += line
        message.trailers = fields_of(block)


class _Sink:
    def __init__(self, message, keep):
        self.keep = keep
        self._message = message
        self._pieces = []
        self._hash = hashlib.sha256()

    def add(self, data):
        self._hash.update(data)
        self._message.size += len(data)
        if self.keep:
            self._pieces.append(data)

    def close(self):
        self._message.body = b"".join(self._pieces)
        self._message.digest = self._hash.digest()


class ClientWire(Wire):
    """A client. ``inside`` looks at all that it receives."""

    inside = None
    _last = b""

    def dataReceived(self, data):
        if self.inside is not None:
            self.inside.look(self, self._last, data)
            self._last = (self._last + data[-LONGEST:])[-LONGEST:]
        super().dataReceived(data)

    async def response(self, to=b"GET", keep=True):
        """The next response, whole; 1xx count as responses. ``to`` is the request's method."""
        message = await self.cut_response(to, keep)
        if not message.whole:
            raise AssertionError(f"cut short: {message!r}; {self.seen()}")
        return message

    async def cut_response(self, to=b"GET", keep=True):
        """The next response, however it ends."""
        message = await self.head()
        if to == b"HEAD" or message.status < 200 or message.status in (204, 304):
            return message
        codings, lengths = message.all(b"transfer-encoding"), message.all(b"content-length")
        if codings:
            if codings != [b"chunked"] or lengths:
                raise AssertionError(f"framed twice: {message.raw_head!r}")
            return await self.body(message, "chunked", keep)
        length = message.get(b"content-length")
        return await self.body(message, "close" if length is None else int(length), keep)


class OriginWire(Wire):
    """A connection that the proxy opened to an origin."""

    def __init__(self, name, origin):
        super().__init__(name)
        self._origin = origin

    def changed(self):
        super().changed()
        self._origin.changed()

    @property
    def left(self):
        """Nothing can be asked here any more."""
        return self.over or self.disconnecting

    async def request(self, keep=True):
        """The next request, whole."""
        message = await self.head()
        codings, lengths = message.all(b"transfer-encoding"), message.all(b"content-length")
        if codings:
            if codings != [b"chunked"] or lengths:
                raise AssertionError(f"framed twice: {message.raw_head!r}")
            await self.body(message, "chunked", keep)
        elif lengths:
            await self.body(message, int(message.get(b"content-length")), keep)
        if not message.whole:
            raise AssertionError(f"a request cut short: {message!r}; {self.seen()}")
        return message

    reply = Wire.send


class Origin(Changing, ProtocolFactory):
    """A server whose every byte is scripted.

    ``origin.request()`` and ``origin.reply()`` speak of the connection accepted last, as most
    scenarios need no other; ``accept`` waits for a further one.
    """

    noisy = False

    def __init__(self, name="origin"):
        super().__init__()
        self.name = name
        self.wires = []
        self._accepted = 0
        self.wire = None
        self.prepare = lambda wire: None
        self.port = None

    def buildProtocol(self, addr):
        wire = OriginWire(f"{self.name} #{len(self.wires) + 1}", self)
        self.wires.append(wire)
        self.prepare(wire)
        return wire

    def seen(self):
        return f"{self.name} has {[wire.seen() for wire in self.wires]}"

    @property
    def secrets(self):
        """What no client is to see of it."""
        host = self.port.getHost()
        return [host.name if hasattr(host, "name") else b":%d" % host.port]

    @property
    def address(self):
        host = self._address if self.port is None else self.port.getHost()
        return f"127.0.0.1:{host.port}"

    @property
    def url(self):
        return f"http://{self.address}"

    async def stop(self):
        """Listen no more; what connects from now on is refused."""
        port, self.port = self.port, None
        if port is not None:
            self._address = port.getHost()
            await maybeDeferred(port.stopListening)

    async def accept(self):
        """The next connection."""
        await self.until(
            lambda: len(self.wires) > self._accepted and self.wires[self._accepted].connected,
            f"connection {self._accepted + 1} to {self.name}",
        )
        self.wire = self.wires[self._accepted]
        self._accepted += 1
        return self.wire

    async def _current(self):
        """The connection on which the next request comes."""

        def asked():
            wire = self.wire
            here = wire is not None and wire.received and not wire.left
            return here or len(self.wires) > self._accepted

        await self.until(asked, f"a request to {self.name}")
        if self.wire is None or self.wire.left or not self.wire.received:
            await self.accept()
        return self.wire

    async def request(self, keep=True):
        """The next request, on the connection that is open or else on a new one."""
        return await (await self._current()).request(keep)

    async def head(self):
        return await (await self._current()).head()

    def reply(self, data):
        return self.wire.reply(data)
