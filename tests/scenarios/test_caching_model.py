"""A cached route against a model of a cache, in memory: whatever happens, in whatever order.

Clients ask, origins answer as they like or not at all, time passes, threads get around to what they
were asked to do, things are purged, anybody leaves. The model knows every version that the origin
has given of a thing, and says of each answer whether that client could be given it; and in the end
everybody who is still there must have been answered.
"""

import re
import shutil
import tempfile
from functools import partial
from types import SimpleNamespace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.cache.storing import Later
from txrproxy.cache.purge import Purge
from txrproxy.cache.reading import INLINE
from txrproxy.config import build, caches
from txrproxy.config.toml import loads

CONFIG = """
version = 1
[listeners.http]
bind = ["127.0.0.1:0"]
[pools.app]
backends = ["http://127.0.0.1:9"]
timeouts = {{ first_byte = "1h", idle = "1h" }}
[caches.main]
path = "{path}"
max_object = "200KiB"
memory = "64KiB"
[[routes]]
name = "all"
pool = "app"
cache = {{ store = "main" }}
"""
START = 1_700_000_000.0
PATHS = (b"/a", b"/b")
SIZES = (0, 5, 1000, 70_000, 150_000, 300_000)
ASKS = {
    "plain": b"",
    "ranged": b"Range: bytes=3-70000\r\n",
    "conditional": b'If-None-Match: "1"\r\n',
    "no-cache": b"Cache-Control: no-cache\r\n",
    "authorized": b"Authorization: x y\r\n",
    "variant": b"Accept-Language: de\r\n",
}
SAID = {
    "fresh": b"max-age=10",
    "stale": b"max-age=0",
    "while": b"max-age=0, stale-while-revalidate=20",
    "error": b"max-age=0, stale-if-error=20",
    "private": b"private",
    "no-store": b"no-store",
}


class Wire(StringTransport):
    """One end; what the proxy closes is closed when the machine comes around to it."""

    gone = False
    paused = False
    read_size = 0

    def setTcpNoDelay(self, enabled):
        pass

    def setTcpKeepAlive(self, enabled):
        pass

    def unsent(self):
        return 0

    def abortConnection(self):
        self.disconnecting = True

    loseWriteConnection = abortConnection

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused = False

    def lose(self, reason=ConnectionDone):
        if not self.gone:
            self.gone = self.disconnecting = True
            self.protocol.connectionLost(Failure(reason()))


def head_of(data):
    """Start line, fields and the rest; None while the head is not whole."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    start, *lines = head.split(b"\r\n")
    return start, {n.lower(): v for n, _, v in (x.partition(b": ") for x in lines)}, rest


def dechunk(rest):
    body = b""
    while True:
        size, end, rest = rest.partition(b"\r\n")
        if not end:
            return None
        count = int(size, 16)
        if len(rest) < count + 2:
            return None
        if not count:
            return body, rest[2:]
        body, rest = body + rest[:count], rest[count + 2 :]


def body_of(path, version, size):
    word = b"%b#%d;" % (path, version)
    return (word * (size // len(word) + 1))[:size]


class CachingMachine(RuleBasedStateMachine):
    """``versions`` are the origin's answers; ``asks`` what clients wait for, by connection."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.reactor = MemoryReactorClock()
        self.reactor.callFromThread = None
        self.reactor.advance(START)
        self.threads = Later()
        real = caches.Store
        caches.Store = partial(real, owner_thread=self.threads, reader_threads=self.threads)
        try:
            log = SimpleNamespace(enabled=False)
            config = loads(CONFIG.format(path=self.folder))
            self.graph = build.build(config, self.reactor, log, wall=self.reactor.seconds)
        finally:
            caches.Store = real
        ((_, self.site),) = self.graph.sites
        self.store = self.graph.caches["main"][0]
        self.store.open()
        self.threads.run()
        while self.store.owner.step():
            pass
        assert self.store.writer.storing
        self.clients = [None, None, None]
        self.asks = {}
        self.ups = []
        self.connected = 0
        self.open = []  # requests that came to the origin, in part answered or not
        self.versions = []
        self.turn = 0
        self.failed = -1  # when the origin last failed

    def teardown(self):
        for _ in range(12):
            self.settle()
            for request in list(self.open):
                self.finish(request, cut=False)
            self.reactor.advance(1)
        self.settle()
        assert not self.asks, f"never answered: {self.asks}"
        assert not self.graph.caches["main"][1]._flights
        self.graph.abort()
        self.graph.close()
        self.threads.run()
        shutil.rmtree(self.folder)

    # The far ends.

    def settle(self):
        """Let everything happen that does not take time, threads included."""
        for _ in range(5):
            self.threads.run()
            self.reactor.advance(0)
            self.pump()

    def pump(self):
        for _, _, factory, _, _ in self.reactor.tcpClients[self.connected :]:
            self.connected += 1
            wire = Wire()
            protocol = factory.buildProtocol(None)
            if protocol is None:
                continue
            wire.protocol = protocol
            protocol.makeConnection(wire)
            self.ups.append(wire)
        for wire in self.ups:
            self.hear(wire)
        for number, wire in enumerate(self.clients):
            if wire is not None:
                self.read(number, wire)
        for wire in [*self.ups, *self.clients]:
            if wire is not None and wire.disconnecting and not wire.gone:
                wire.lose()
        self.open = [r for r in self.open if not r.wire.gone]
        self.ups = [wire for wire in self.ups if not wire.gone]

    def hear(self, wire):
        found = head_of(wire.value())
        if found is None or wire.gone:
            return
        start, fields, _ = found
        wire.clear()
        method, target, _ = start.split(b" ")
        request = SimpleNamespace(wire=wire, method=method, path=target, fields=fields, rest=None)
        self.open.append(request)

    def read(self, number, wire):
        ask = self.asks.get(wire)
        if ask is None:
            assert not wire.value()
            return
        found = head_of(wire.value())
        if found is not None:
            start, fields, rest = found
            status = int(start.split(b" ")[1])
            whole = None
            if ask.method == b"HEAD" or status in (204, 304):
                whole = b"", rest
            elif b"transfer-encoding" in fields:
                whole = dechunk(rest)
            elif len(rest) >= int(fields[b"content-length"]):
                length = int(fields[b"content-length"])
                whole = rest[:length], rest[length:]
            if whole is not None:
                body, more = whole
                assert not more, more
                wire.clear()
                del self.asks[wire]
                self.judge(ask, status, fields, body)
                return
        if wire.disconnecting:
            assert self.failed >= ask.turn, "cut for no reason"
            del self.asks[wire]
            self.clients[number] = None

    # The model.

    def judge(self, ask, status, fields, body):
        if status in (502, 503, 504):
            assert self.failed >= ask.turn or status == 503, (status, fields)
            return
        assert status in (200, 206, 304, 416), status
        number = int(fields[b"x-version"]) if b"x-version" in fields else None
        if number is None:
            assert status in (304, 416)
            return
        version = self.versions[number]
        assert version.path == ask.path, (version, ask)
        assert version.asked == ask.asked or not version.varied, (version, ask)
        if status == 206:
            first, last = map(
                int, re.match(rb"bytes (\d+)-(\d+)/", fields[b"content-range"]).groups()
            )
            assert body == version.body[first : last + 1]
        elif status == 200 and ask.method == b"GET":
            assert body == version.body, (body[:40], version)
        if version.turn >= ask.turn:
            # It came while this client waited: it was this one's own, or for all.
            assert version.shared or version.by == fields[b"x-request-id"], (version, ask)
            return
        assert version.shared, (version, ask)
        assert version.purged < version.turn or version.purged >= ask.turn, "purged before"
        age = ask.time - version.time
        fresh = age < version.ttl or version.validated >= ask.turn
        while_ = version.said == "while" and age < version.ttl + 20
        error = version.said == "error" and age < version.ttl + 30 and self.failed >= ask.turn
        assert fresh or while_ or error, (version, ask, age)
        if ask.kind == "no-cache":
            assert version.validated >= ask.turn or error, (version, ask)

    # What happens.

    @rule(
        number=st.sampled_from(range(3)),
        path=st.sampled_from(PATHS),
        kind=st.sampled_from([*ASKS, "plain", "plain"]),
        method=st.sampled_from([b"GET"] * 6 + [b"HEAD"]),
    )
    def ask(self, number, path, kind, method):
        wire = self.clients[number]
        if wire is None or wire.gone:
            address = IPv4Address("TCP", "127.0.0.1", 50000 + number)
            wire = self.clients[number] = Wire(peerAddress=address)
            wire.protocol = self.site.buildProtocol(address)
            wire.protocol.makeConnection(wire)
        if wire in self.asks:
            return
        self.turn += 1
        ask = SimpleNamespace(
            turn=self.turn,
            time=self.reactor.seconds(),
            path=path,
            kind=kind,
            method=method,
            asked=b"de" if kind == "variant" else b"",
        )
        self.asks[wire] = ask
        wire.protocol.dataReceived(
            b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method, path, ASKS[kind])
        )

    @rule(
        number=st.sampled_from(range(3)),
        path=st.sampled_from(PATHS),
        kind=st.sampled_from(["plain", "plain", "variant", "authorized"]),
        said=st.sampled_from(["fresh", "fresh", "while", "error"]),
        size=st.sampled_from(SIZES),
        varied=st.booleans(),
    )
    def exchange(self, number, path, kind, said, size, varied):
        """All at once, so that there is something in the cache."""
        self.ask(number, path, kind, b"GET")
        self.settle()
        for request in list(self.open):
            if request.rest is None and request.path == path:
                self.respond(request, said, size, False, varied)
        self.settle()

    @rule(
        path=st.sampled_from(PATHS),
        kind=st.sampled_from(["plain", "plain", "plain", "no-cache", "variant"]),
    )
    def crowd(self, path, kind):
        """All who do not wait yet."""
        for number in range(3):
            self.ask(number, path, kind, b"GET")

    @precondition(lambda self: any(r.rest is None for r in self.open))
    @rule(
        which=st.integers(0, 5),
        said=st.sampled_from([*SAID, "fresh", "fresh"]),
        size=st.sampled_from(SIZES),
        chunked=st.booleans(),
        varied=st.booleans(),
        part=st.sampled_from([1.0, 1.0, 0.0, 0.5]),
    )
    def answer(self, which, said, size, chunked, varied, part):
        waiting = [r for r in self.open if r.rest is None]
        self.respond(waiting[which % len(waiting)], said, size, chunked, varied, part)

    def respond(self, request, said, size, chunked, varied=False, part=1.0):
        self.turn += 1
        fields = request.fields
        number = len(self.versions)
        version = SimpleNamespace(
            number=number,
            path=request.path,
            body=body_of(request.path, number, size),
            said=said,
            ttl=10 if said == "fresh" else 0,
            shared=said not in ("private", "no-store") and b"authorization" not in fields,
            by=fields[b"x-request-id"],
            asked=fields.get(b"accept-language", b""),
            varied=varied,
            time=self.reactor.seconds(),
            turn=self.turn,
            validated=-1,
            purged=-1,
        )
        self.versions.append(version)
        head = b'HTTP/1.1 200 OK\r\nX-Version: %d\r\nETag: "%d"\r\nCache-Control: %b\r\n' % (
            number,
            number,
            SAID[said],
        )
        if varied:
            head += b"Vary: Accept-Language\r\n"
        if request.method == b"HEAD":
            body = b""
            head += b"Content-Length: %d\r\n\r\n" % size
        elif chunked:
            head += b"Transfer-Encoding: chunked\r\n\r\n"
            body = b"%x\r\n%b\r\n" % (size, version.body) if size else b""
            body += b"0\r\n\r\n"
        else:
            head += b"Content-Length: %d\r\n\r\n" % size
            body = version.body
        at = round(len(body) * part)
        request.rest = body[at:]
        request.wire.protocol.dataReceived(head + body[:at])
        if not request.rest:
            self.open.remove(request)

    @precondition(lambda self: any(self.known(r) for r in self.open))
    @rule(fresh=st.booleans())
    def not_modified(self, fresh):
        request = next(r for r in self.open if self.known(r))
        version = self.versions[self.known(request)[0]]
        self.turn += 1
        version.validated = self.turn
        version.time = self.reactor.seconds()
        version.said = "fresh" if fresh else "stale"
        version.ttl = 10 if fresh else 0
        self.open.remove(request)
        said = SAID[version.said]
        request.wire.protocol.dataReceived(
            b'HTTP/1.1 304 Not Modified\r\nETag: "%d"\r\nCache-Control: %b\r\n\r\n'
            % (version.number, said)
        )
        if len(version.body) > INLINE:
            self.settle()  # what is in a file has its new head when a thread has written it

    def known(self, request):
        """The version that a request has a precondition on, in a tuple; empty without."""
        tags = re.findall(rb'"(\d+)"', request.fields.get(b"if-none-match", b""))
        return tuple(
            int(tag)
            for tag in tags
            if request.rest is None
            and int(tag) < len(self.versions)
            and self.versions[int(tag)].path == request.path
            and self.versions[int(tag)].shared
        )

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 5), how=st.sampled_from(["503", "reset", "nonsense"]))
    def fail(self, which, how):
        request = self.open[which % len(self.open)]
        self.turn += 1
        self.failed = self.turn
        self.open.remove(request)
        if request.rest is not None or how == "reset":
            request.wire.lose(ConnectionLost)
        elif how == "503":
            request.wire.protocol.dataReceived(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        else:
            request.wire.protocol.dataReceived(b"nonsense\r\n\r\n")

    @precondition(lambda self: any(r.rest is not None for r in self.open))
    @rule(which=st.integers(0, 5), cut=st.booleans())
    def go_on(self, which, cut):
        begun = [r for r in self.open if r.rest is not None]
        self.finish(begun[which % len(begun)], cut)

    def finish(self, request, cut):
        if request.rest is None:
            self.respond(request, "no-store", 3, False)
            return
        self.open.remove(request)
        if cut:
            self.turn += 1
            self.failed = self.turn
            request.wire.lose(ConnectionLost)
        else:
            request.wire.protocol.dataReceived(request.rest)

    @rule(number=st.sampled_from(range(3)))
    def leave(self, number):
        wire, self.clients[number] = self.clients[number], None
        if wire is not None:
            self.asks.pop(wire, None)
            wire.lose()

    @rule(seconds=st.sampled_from([0.5, 3, 6, 12, 25]))
    def wait(self, seconds):
        self.reactor.advance(seconds)

    @rule(path=st.sampled_from(PATHS))
    def purge(self, path):
        self.turn += 1
        for version in self.versions:
            if version.path == path:
                version.purged = self.turn
        self.store.purge(Purge("url", b"http://a" + path), lambda result, error: None)

    @rule()
    def run_threads(self):
        self.threads.run()

    @invariant()
    def all_is_well(self):
        self.pump()


class ModelTests(SynchronousTestCase):
    def test_whatever_happens(self):
        run_state_machine_as_test(
            CachingMachine,
            settings=settings(
                max_examples=60,
                stateful_step_count=40,
                deadline=None,
                report_multiple_bugs=False,
            ),
        )
        self.assertEqual(self.flushLoggedErrors(), [])
