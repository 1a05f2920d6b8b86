"""A name server on loopback, Twisted's own: a second opinion on the protocol."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.names import dns, error
from twisted.names.common import ResolverBase
from twisted.names.server import DNSServerFactory


class Broken(Exception):
    """What the server logs; a test flushes it."""


class Zone(ResolverBase):
    """``records`` by name, lower case; ``silent`` and ``broken`` are (name, type) to fail for."""

    def __init__(self):
        super().__init__()
        self.records = {}
        self.silent = set()
        self.broken = set()
        self.asked = []

    def set(self, name, *records):
        self.records[name] = [
            dns.Record_A(record)
            if isinstance(record, str) and ":" not in record
            else dns.Record_AAAA(record)
            if isinstance(record, str)
            else record
            for record in records
        ]

    def _lookup(self, name, cls, kind, timeout):
        name = name.decode().lower()
        self.asked.append((name, kind))
        if (name, kind) in self.silent:
            return Deferred()
        if (name, kind) in self.broken:
            return fail(Broken())
        if name not in self.records:
            return fail(error.DomainError())
        answers = []
        for owner in (name, *self._aliases(name)):
            answers += [
                dns.RRHeader(owner.encode(), record.TYPE, dns.IN, 60, record)
                for record in self.records.get(owner, ())
                if record.TYPE in {kind, dns.CNAME}
            ]
        return succeed((answers, [], []))

    def _aliases(self, name):
        for record in self.records.get(name, ()):
            if record.TYPE == dns.CNAME:
                yield record.name.name.decode().lower()


def listen_both(protocol, factory, port=0):
    """Listen on one port of loopback for TCP and UDP; any that is free for both if it is 0."""
    for _ in range(100):
        streams = reactor.listenTCP(port, factory, interface="127.0.0.1")
        try:
            number = streams.getHost().port
            return streams, reactor.listenUDP(number, protocol, interface="127.0.0.1")
        except CannotListenError:
            streams.stopListening()
    raise AssertionError("no port is free for both")


class Loopback:
    """The server of a zone, on one port for UDP and TCP."""

    def __init__(self):
        self.zone = Zone()
        self.port = 0
        self.streams = 0  # connections over TCP so far
        self._ports = []

    def start(self):
        factory = _Factory(self)
        self._ports = listen_both(dns.DNSDatagramProtocol(factory), factory, self.port)
        self.port = self._ports[0].getHost().port

    async def stop(self):
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        self._ports = []


class _Factory(DNSServerFactory):
    noisy = False

    def __init__(self, loopback):
        super().__init__(clients=[loopback.zone])
        self.resolver = loopback.zone
        self._loopback = loopback

    def buildProtocol(self, addr):
        self._loopback.streams += 1
        return super().buildProtocol(addr)
