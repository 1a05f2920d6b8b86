"""What TLS costs one process: CPU time of a server for an exchange, a handshake, a large body.

A child process is the client, on the same OpenSSL but driven by hand, so that only this process is
measured. The lean layer is compared with Twisted's ``TLSMemoryBIOProtocol``, and with no TLS at
all, on direct transports and the lean reactor.

    python benchmarks/tls.py [--rounds 3] [--only NAME]
"""

from __future__ import annotations

import argparse
import datetime
import os
import resource
import socket
import ssl
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from txrproxy.tls.failures import FailureLog
from txrproxy.tls.gate import Gate
from txrproxy.tls.layer import TlsLayer
from txrproxy.tls.server import TlsServer
from txrproxy.transport import direct
from txrproxy.transport.deadlines import Deadlines
from txrproxy.transport.reactor import LeanReactor

KIB, MIB = 1 << 10, 1 << 20
SMALL, BIG = 1 * KIB, 1 * MIB
CONNECTIONS = 16


def cpu() -> float:
    """Seconds of user and system time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


# The client: asks with 8 bytes for so many, in a child process.


def client(port: int, tls: bool, size: int, exchanges: int, handshakes: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    session: Any = None

    def connect() -> Any:
        raw = socket.create_connection(("127.0.0.1", port))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(raw, session=session) if tls else raw

    def ask(connection: Any) -> None:
        connection.sendall(b"%08d" % size + bytes(SMALL - 8))
        left = size
        while left:
            left -= len(connection.recv(min(left, 256 * KIB)))

    if handshakes:
        for _ in range(exchanges):
            connection = connect()
            ask(connection)
            if handshakes == "resumed":
                session = connection.session if tls else None
            connection.close()
    else:
        connections = [connect() for _ in range(min(CONNECTIONS, exchanges))]
        for number in range(exchanges):
            ask(connections[number % len(connections)])
        for connection in connections:
            connection.close()


class Server(Protocol):
    """Answers each KiB with as many bytes as it begins with, in pieces as a proxy reads them."""

    left = 0
    paused = False

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self.left += int(data[:8])
        self.go_on()

    def go_on(self) -> None:
        while self.left and not self.paused:
            piece = PIECE if self.left >= len(PIECE) else PIECE[: self.left]
            self.left -= len(piece)
            self.transport.write(piece)

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False
        self.go_on()

    def stopProducing(self) -> None:
        self.left = 0


PIECE = bytes(256 * KIB)


def context(folder: Path) -> SSL.Context:
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    made.use_certificate_file(str(folder / "cert.pem"))
    made.use_privatekey_file(str(folder / "key.pem"))
    made.set_session_id(b"benchmark")
    return made


def plain(reactor: Any, folder: Path) -> Factory:
    return Factory.forProtocol(Server)


def stock(reactor: Any, folder: Path) -> Any:
    from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
    from zope.interface import implementer

    made = context(folder)

    @implementer(IOpenSSLServerConnectionCreator)
    class Creator:
        def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
            return SSL.Connection(made, None)

    return TLSMemoryBIOFactory(Creator(), False, Factory.forProtocol(Server), reactor)


def lean(reactor: Any, folder: Path) -> Factory:
    made = context(folder)
    deadlines = Deadlines(reactor)

    def connection() -> SSL.Connection:
        connection = SSL.Connection(made, None)
        connection.set_accept_state()
        return connection

    server = TlsServer(
        connection,
        reactor,
        deadlines.queue(10, TlsLayer.expired),
        Gate(reactor),
        FailureLog("benchmark", deadlines, reactor.seconds),
    )
    factory = Factory()
    factory.buildProtocol = lambda address: server.wrap(  # type: ignore[method-assign,assignment]
        lambda layer: Server(), lambda layer, failure: None
    )
    return factory


def measure(make: Callable[[Any, Path], Any], folder: Path, case: tuple[int, int, str]) -> float:
    """µs of CPU for one exchange."""
    size, exchanges, handshakes = case
    reactor = LeanReactor()
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    number = listener.getsockname()[1]
    listener.setblocking(False)
    port = reactor.adoptStreamPort(listener.fileno(), socket.AF_INET, make(reactor, folder))
    direct.direct_port(port)
    pid = os.fork()
    if not pid:
        try:
            client(number, make is not plain, size, exchanges, handshakes)
        except BaseException as error:
            print(repr(error))
        finally:
            os._exit(0)
    import threading

    threading.Thread(
        target=lambda: (os.waitpid(pid, 0), reactor.callFromThread(reactor.stop)), daemon=True
    ).start()
    before = cpu()
    reactor.run(installSignalHandlers=False)
    listener.close()
    return (cpu() - before) / exchanges * 1e6


CASES = {
    "1 KiB exchange": (SMALL, 8000, ""),
    "1 MiB body": (BIG, 200, ""),
    "full handshake": (SMALL, 500, "full"),
    "resumed handshake": (SMALL, 500, "resumed"),
}
WAYS = {"no TLS": plain, "TLSMemoryBIOProtocol": stock, "lean layer": lean}


def run() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificate(folder)
        print(f"{'µs CPU':<22}" + "".join(f"{way:>22}" for way in WAYS))
        for case, settings in CASES.items():
            if options.only not in case:
                continue
            costs = []
            for make in WAYS.values():
                values = [measure(make, folder, settings) for _ in range(options.rounds)]
                costs.append(statistics.median(values))
            print(f"{case:<22}" + "".join(f"{cost:>22.1f}" for cost in costs))


if __name__ == "__main__":
    run()
