"""TLS on connections to backends: verified, resumed, and told apart when it fails.

Verification is two questions. OpenSSL answers the first in the handshake: is the certificate valid
now, and does a chain lead from it to an authority we trust? service-identity answers the second
after it: is it the certificate of the name that was meant (RFC 9525)? No byte of a request is sent
before both are answered.

Sessions are kept by backend, the latest alone. A session remembers a verified peer, so it is kept
only after verification, and what verifies is part of what it is kept by: the object.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.python.failure import Failure

from txrproxy.errors import CONNECT_TIMEOUT, TLS_HANDSHAKE_FAILED, TLS_VERIFY_FAILED, Reason
from txrproxy.tls.ends import HandshakeFailed, HandshakeTimeout
from txrproxy.tls.failures import FailureLog
from txrproxy.tls.layer import TlsLayer
from txrproxy.tls.openssl import VERIFY_FAILED, TlsFailure, verify_error
from txrproxy.transport.dial import Connected, Failed, Handover, Make

Dial = Callable[[Make, float, Connected, Failed], None]

_OPTIONS = SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION


class VerifyFailed(HandshakeFailed):
    """The backend is not known to be who it should be; the text says what is wrong."""


class ClientTls:
    """How the backends of one pool are spoken to. Raises on use of unusable material:

    :param verify: whether chain and name are checked.
    :param authorities: PEM of the authorities to trust; None for the system's.
    :param certificate: PEM of our own certificate and chain, leaf first, and of its ``key``.
    :raises ValueError: the PEM can not be read, or key and certificate do not belong together.
    """

    def __init__(
        self,
        *,
        verify: bool = True,
        authorities: bytes | None = None,
        certificate: bytes | None = None,
        key: bytes | None = None,
    ) -> None:
        self.verify = verify
        self.context = context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(_OPTIONS)
        context.set_alpn_protos([b"http/1.1"])
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # kept here, not by OpenSSL
        context.set_verify(SSL.VERIFY_PEER if verify else SSL.VERIFY_NONE)
        if verify:
            self._trust(authorities)
        if certificate:
            self._show(certificate, key or b"")

    def _trust(self, authorities: bytes | None) -> None:
        if authorities is None:
            self.context.set_default_verify_paths()
            return
        store = self.context.get_cert_store()
        assert store is not None
        for authority in x509.load_pem_x509_certificates(authorities):
            store.add_cert(X509.from_cryptography(authority))

    def _show(self, certificate: bytes, key: bytes) -> None:
        leaf, *chain = x509.load_pem_x509_certificates(certificate)
        try:
            private: Any = load_pem_private_key(key, None)
            self.context.use_certificate(leaf)
            for link in chain:
                self.context.add_extra_chain_cert(link)
            self.context.use_privatekey(private)
            self.context.check_privatekey()
        except (SSL.Error, TypeError) as error:
            raise ValueError("the key does not belong to the certificate") from error

    def backend(self, name: str) -> BackendTls:
        """For one backend: ``name`` is what its certificate must be for, DNS name or IP text."""
        return BackendTls(self, name)


class BackendTls:
    """TLS to one backend; keeps its last session."""

    __slots__ = ("_address", "_name", "_session", "_tls")

    def __init__(self, tls: ClientTls, name: str) -> None:
        self._tls = tls
        self._name = name.rstrip(".")
        self._session: SSL.Session | None = None
        try:
            self._address = str(ipaddress.ip_address(self._name))
        except ValueError:
            self._address = ""

    def connection(self) -> SSL.Connection:
        """A connection that is about to greet the backend."""
        connection = SSL.Connection(self._tls.context, None)
        connection.set_connect_state()
        if not self._address:  # RFC 6066 section 3: no addresses
            connection.set_tlsext_host_name(self._name.encode("idna"))
        if self._session is not None:
            connection.set_session(self._session)
        return connection

    def check(self, layer: TlsLayer) -> None:
        """Whether the backend is who it should be; its chain has been verified.

        :raises VerifyFailed: it is not.
        """
        if not self._tls.verify or layer.resumed:
            return
        try:
            if self._address:
                verify_ip_address(layer.connection, self._address)
            else:
                verify_hostname(layer.connection, self._name)
        except (VerificationError, CertificateError) as error:
            self._session = None
            raise VerifyFailed(f"the certificate is not for {self._name}") from error

    def keep(self, layer: TlsLayer) -> None:
        """Resume the session of this connection with the next one."""
        self._session = layer.connection.get_session()

    def forget(self) -> None:
        """Begin anew with the next connection."""
        self._session = None

    def explain(self, layer: TlsLayer, error: HandshakeFailed) -> HandshakeFailed:
        """What a failed handshake was about, if it was the backend's certificate."""
        self.forget()
        if isinstance(error, VerifyFailed) or not self._tls.verify:
            return error
        wrong = verify_error(layer.connection)
        if not wrong and VERIFY_FAILED in str(error):  # where the binding can not be asked
            wrong = VERIFY_FAILED
        return VerifyFailed(wrong) if wrong else error


class TlsDialer:
    """Dials as ``dial`` does, and speaks TLS before it says that there is a connection."""

    def __init__(self, reactor: Any, dial: Dial, tls: BackendTls, log: FailureLog) -> None:
        self._reactor = reactor
        self._dial = dial
        self._tls = tls
        self._log = log

    def __call__(self, make: Make, timeout: float, connected: Connected, failed: Failed) -> None:
        attempt = _Attempt(self._reactor, self._tls, make, connected, failed, self._log)
        attempt.until = self._reactor.seconds() + timeout
        self._dial(attempt.layer, timeout, attempt.greeted, failed)


class _Attempt:
    """One connection and its handshake, within one deadline."""

    __slots__ = ("_connected", "_failed", "_log", "_make", "_reactor", "_timer", "_tls", "until")

    def __init__(
        self,
        reactor: Any,
        tls: BackendTls,
        make: Make,
        connected: Connected,
        failed: Failed,
        log: FailureLog,
    ) -> None:
        self._log = log
        self._reactor = reactor
        self._tls = tls
        self._make = make
        self._connected = connected
        self._failed = failed
        self._timer: Any = None
        self.until = 0.0

    def layer(self) -> TlsLayer:
        """The protocol of the raw connection."""
        return TlsLayer(self._tls.connection(), self._done, self._ended, self._reactor)

    def greeted(self, layer: TlsLayer) -> None:
        """The raw connection is there, and the handshake has begun."""
        if layer.handshaking:
            left = max(0.0, self.until - self._reactor.seconds())
            self._timer = self._reactor.callLater(left, self._expired, layer)

    def _expired(self, layer: TlsLayer) -> None:
        self._timer = None
        layer.expired()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _done(self, layer: TlsLayer) -> Handover:
        self._tls.check(layer)
        self._stop()
        layer.settled = self._tls.keep
        layer.refused = self._refused
        return Handover(self._make(), self._connected)

    def _ended(self, layer: TlsLayer, failure: Failure) -> None:
        self._stop()
        self._failed(self._reason(layer, failure.value))

    def _refused(self, layer: TlsLayer, failure: TlsFailure) -> None:
        """In TLS 1.3 the handshake is over for us before the backend has judged it."""
        self._tls.forget()
        self._log.add(_peer(layer), str(failure))

    def _reason(self, layer: TlsLayer, error: Any) -> Reason:
        peer = _peer(layer)
        if isinstance(error, HandshakeTimeout):
            self._log.add(peer, str(error))
            return CONNECT_TIMEOUT
        error = self._tls.explain(layer, error)
        if isinstance(error, VerifyFailed):
            self._log.add(peer, f"not verified: {error}")
            return TLS_VERIFY_FAILED
        self._log.add(peer, str(error))
        return TLS_HANDSHAKE_FAILED


def _peer(layer: TlsLayer) -> str:
    """The backend's address, for the log."""
    return getattr(layer.getPeer(), "host", None) or "a local socket"
