"""TLS on accepted connections: what the connections of one listener share.

::

    raw transport ── TlsLayer ── protocol        or, behind a proxy that speaks PROXY protocol,
    raw transport ── HeaderReader, then TlsLayer in its place ── protocol

A layer is a protocol for the raw transport like any other, so whoever reads a PROXY header first
only has to hand over to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from OpenSSL import SSL
from twisted.python.failure import Failure

from txrproxy.tls.ends import HandshakeFailed, HungUp
from txrproxy.tls.failures import FailureLog
from txrproxy.tls.gate import Gate
from txrproxy.tls.layer import TlsLayer
from txrproxy.tls.openssl import VERIFY_FAILED, verify_error
from txrproxy.transport.deadlines import Queue

_WORDS = b"This port speaks HTTPS: use https:// in place of http://\n"
#: To those who speak HTTP without TLS.
PLAIN_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_WORDS), _WORDS)
)


@frozen(eq=False)
class TlsServer:
    """``connection()`` gives an ``OpenSSL.SSL.Connection`` for each client: on memory BIOs, and
    ready to accept one handshake and no other after it.

    ``queue`` is the deadline of a handshake, made with ``TlsLayer.expired``; ``gate`` bounds the
    handshakes of the process. ``greet`` is that of :class:`~txrproxy.tls.layer.TlsLayer`.
    """

    connection: Callable[[], SSL.Connection]
    clock: Any
    queue: Queue[TlsLayer]
    gate: Gate
    log: FailureLog
    greet: Callable[[SSL.Connection, bytes], bool] | None = None

    def wrap(
        self,
        made: Callable[[TlsLayer], Any],
        ended: Callable[[TlsLayer, Failure], None],
    ) -> TlsLayer:
        """A protocol for the raw transport of one client.

        When the handshake is done, ``made(layer)`` gives the protocol that speaks over TLS, whose
        transport the layer is; if there will be none, ``ended(layer, failure)`` says why.
        """
        return TlsLayer(
            self.connection(),
            made,
            ended,
            self.clock,
            self.queue,
            self.gate,
            self.greet,
            PLAIN_ANSWER,
        )

    def failed(self, layer: TlsLayer, peer: str, error: HandshakeFailed) -> None:
        """Log that a handshake has failed; ``peer`` is the client's address."""
        if isinstance(error, HungUp):  # often only somebody's health check
            return
        reason = str(error)
        if VERIFY_FAILED in reason:
            wrong = verify_error(layer.connection)
            reason = f"client certificate not verified: {wrong}" if wrong else reason
        self.log.add(peer, reason, layer.server_name)
