"""TLS in scenarios: certificates in files, and clients and origins that speak it.

The client is a :class:`SecureWire`, OpenSSL on memory BIOs driven by hand, so that the product is
not judged by its own layer and a scenario sees how a connection ends: with a close_notify or
without. Origins speak it through Twisted's own TLS.
"""

from pathlib import Path

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from tests.scenarios.harness import Scenario
from tests.scenarios.wire import ClientWire, Origin
from tests.tls.authority import authority
from tests.tls.handshake import client_context
from txrproxy.tls.binding import is_resumed

ROOT = authority("scenario root")
CLIENTS = authority("scenario clients")
SERVER = ROOT.issue("localhost", "a.example", "*.wild.example", "127.0.0.1", subject="server")
ALICE = CLIENTS.issue("alice.example", subject="alice", client=True)
BOB = CLIENTS.issue(subject="bob", client=True)
MALLORY = authority("another root").issue("alice.example", subject="alice", client=True)


def trusting(*, version=None, certificate=None, ciphers=b"", root=ROOT):
    """The context of a client that believes ``root`` alone."""
    context = client_context(version, certificate=certificate, ciphers=ciphers)
    context.get_cert_store().add_cert(X509.from_cryptography(root.certificate))
    context.set_verify(SSL.VERIFY_PEER)
    return context


class SecureWire(ClientWire):
    """A client that speaks TLS. ``name`` is what it asks for; ``before`` goes ahead in plain text.

    With ``stalls`` it does not answer the server's first flight.
    """

    def __init__(
        self, label, context, name=b"a.example", *, session=None, before=b"", stalls=False
    ):
        super().__init__(label)
        self.tls = SSL.Connection(context, None)
        self.tls.set_connect_state()
        if name:
            self.tls.set_tlsext_host_name(name)
        if session is not None:
            self.tls.set_session(session)
        self.shaken = False  # the handshake is done
        self.alert = ""  # why there is no TLS connection, or no more
        self.notified = False  # a close_notify has come
        self._before = before
        self._stalls = stalls

    @property
    def certificate(self):
        return self.tls.get_peer_certificate(as_cryptography=True)

    @property
    def resumed(self):
        return is_resumed(self.tls)

    def connectionMade(self):
        super().connectionMade()
        self.transport.write(self._before)
        self._go_on()

    def dataReceived(self, data):
        if self._stalls:
            self.total += len(data)
            self.changed()
            return
        self.tls.bio_write(data)
        self._go_on()

    def _go_on(self):
        plain = []
        try:
            if not self.shaken:
                self.tls.do_handshake()
                self.shaken = True
            while True:
                plain.append(self.tls.recv(1 << 16))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.notified = True
        except SSL.Error as error:
            self.alert = self.alert or str(error.args[0][0][-1])
        self._flush()
        if plain:
            super().dataReceived(b"".join(plain))
        self.changed()
        if self.notified and not self.eof:
            self.readConnectionLost()

    def readConnectionLost(self):
        if not self.eof:
            super().readConnectionLost()

    def _flush(self):
        while True:
            try:
                data = self.tls.bio_read(1 << 16)
            except SSL.WantReadError:
                return
            if self.connected:
                self.transport.write(data)

    def send(self, data):
        view = memoryview(data)
        while view:
            view = view[self.tls.send(view[: 1 << 20]) :]
            self._flush()
        return self

    def _say_goodbye(self):
        if self.shaken and not self.alert and not self.tls.get_shutdown() & SSL.SENT_SHUTDOWN:
            self.tls.shutdown()
            self._flush()

    def close(self):
        self._say_goodbye()
        super().close()

    def half_close(self):
        self._say_goodbye()
        super().half_close()

    def handshake(self):
        """Fires when it is done or refused."""
        return self.until(
            lambda: self.shaken or self.alert or self.over, f"the handshake of {self.name}"
        )

    def refused(self):
        """Fires with the reason when the connection is refused."""
        return self.until(lambda: self.alert, f"{self.name} to be refused")


class _Context:
    """What ``listenSSL`` asks for."""

    isClient = False
    method = SSL.TLS_SERVER_METHOD

    def __init__(self, context):
        self._context = context

    def getContext(self):
        return self._context


class SecureOrigin(Origin):
    @property
    def url(self):
        return f"https://{self.address}"


class SecureScenario(Scenario):
    """A proxy whose listener speaks TLS, with ``SERVER`` as its certificate."""

    def setUp(self):
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def put(self, issued, name="server"):
        """Write certificate and key; an entry of ``certificates``, without its braces."""
        source = issued.write(self.folder, name)
        return f'cert = "{source.cert}", key = "file:{source.key.name}"'

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def tls(self, *entries, more=""):
        """The line of a listener's TLS."""
        given = entries or (self.put(SERVER),)
        items = ", ".join(f"{{ {entry} }}" for entry in given)
        return f"tls = {{ certificates = [{items}]{', ' + more if more else ''} }}"

    async def secure_proxy(self, *backends, entries=(), tls="", listener="", **parts):
        line = self.tls(*entries, more=tls)
        return await self.proxy(*backends, listener=f"{listener}\n{line}", **parts)

    async def begin(self, proxy, name=b"a.example", *, context=None, **how):
        """A client whose handshake goes on."""
        wire = SecureWire(f"client #{len(self._wires) + 1}", context or trusting(), name, **how)
        self.meet(wire)
        await connectProtocol(TCP4ClientEndpoint(reactor, *proxy.address), wire)
        return wire

    async def secure(self, proxy, name=b"a.example", **how):
        """A client whose handshake is done."""
        wire = await self.begin(proxy, name, **how)
        await wire.handshake()
        self.assertTrue(wire.shaken, wire.alert)
        return wire

    async def secure_pair(self, **parts):
        origin = await self.origin()
        proxy = await self.secure_proxy(origin, **parts)
        return origin, proxy, await self.secure(proxy)

    async def secure_origin(self, context, name="origin"):
        origin = SecureOrigin(name)
        origin.port = reactor.listenSSL(0, origin, _Context(context), interface="127.0.0.1")
        self._origins.append(origin)
        self.inside.add(*origin.secrets)
        return origin
