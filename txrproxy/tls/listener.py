"""TLS of one listener, as one object with a beginning and an end: what a listener needs of it.

::

    tls = ListenerTls(sources, config.resolve, reactor, wall, ...)   # raises BadPem, Disagreement
    tls.start()                              # follow the files, ask OCSP responders
    connection = tls.contexts.connection()   # for each accepted connection
    ...                                      # the handshake
    peer = tls.peer(connection, b"203.0.113.7", trusted=False)
    tls.stop()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from txrproxy.http.peer import Peer
from txrproxy.tls.certificates import Source, faults
from txrproxy.tls.contexts import ServerContexts
from txrproxy.tls.identity import NO_CERTIFICATE
from txrproxy.tls.pem import Resolve
from txrproxy.tls.profiles import ProfileName
from txrproxy.tls.reload import Reloader
from txrproxy.tls.stapling import Ask, Stapler, asker
from txrproxy.tls.store import CertificateStore, Changes

_logger = Logger()


class ListenerTls:
    """The certificates and rules of a listener.

    ``name`` is that of the listener, whose sessions are its own. ``wall`` is unix time, ``reload``
    in seconds. ``renew`` makes new files where that is up to us, before each look at them (see
    :class:`~txrproxy.tls.reload.Reloader`). ``ask`` asks OCSP responders, ``in_thread`` runs a
    function elsewhere; tests bring their own. Raises :class:`~txrproxy.tls.pem.BadPem` and
    :class:`~txrproxy.tls.store.Disagreement`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        resolve: Resolve,
        reactor: Any,
        wall: Callable[[], float],
        *,
        name: str = "",
        protocols: Sequence[str] = ("http/1.1",),
        profile: ProfileName = "intermediate",
        session_tickets: bool = True,
        strict: bool = False,
        reload: float = 10.0,
        renew: Callable[[], object] = lambda: None,
        ask: Ask | None = None,
        in_thread: Callable[[Callable[[], Changes]], Deferred[Changes]] = deferToThread,
    ) -> None:
        self._resolve = resolve
        self._wall = wall
        store = CertificateStore(sources, resolve, strict=strict, report=_logger.error)
        self._stapler = Stapler(reactor, wall, ask or asker(reactor))
        self.contexts = ServerContexts(
            store,
            protocols,
            profile=profile,
            session_tickets=session_tickets,
            staple=self._stapler.staple,
            realm=name,
        )
        self._reloader = Reloader(
            self.contexts, reload, reactor, changed=self._changed, in_thread=in_thread, renew=renew
        )

    def start(self) -> None:
        """Follow the files and keep OCSP responses."""
        self._changed()
        self._reloader.start()

    def stop(self) -> None:
        """Do neither any more. Connections go on."""
        self._reloader.stop()
        self._stapler.stop()

    def peer(
        self, connection: SSL.Connection, address: bytes, trusted: bool, scheme: bytes = b"https"
    ) -> Peer | None:
        """The client of a finished handshake; None when it is like any other from its address.

        None saves a peer for each connection: where nobody is asked for a certificate there is
        nothing to say of one client that is not true of all.
        """
        contexts = self.contexts
        policy = contexts.policy(connection)
        admits = None
        if contexts.mixed:

            def admits(host: bytes) -> bool:
                return contexts.admits(connection, host)

        if not policy.asks:
            if admits is None:
                return None
            return Peer(address, scheme, trusted, admits=admits)
        identity = contexts.identity(connection)
        lines = NO_CERTIFICATE if identity is None else identity.lines
        return Peer(address, scheme, trusted, identity, lines, admits)

    def _changed(self) -> None:
        certificates = self.contexts.store.certificates
        for certificate in certificates:
            for fault in faults(certificate, self._wall(), self._resolve):
                _logger.warn("{fault}", fault=fault)
        self._stapler.watch(certificates)
