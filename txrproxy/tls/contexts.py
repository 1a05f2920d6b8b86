"""TLS connections of one listener: each from the certificates of the moment, by the name asked for.

::

    connection()        SSL of the first context, nothing shown or asked of the client yet;
      │                 tickets by the keys of all processes (:mod:`txrproxy.tls.tickets`)
      ▼  greet          where names differ in what they ask: the context of the name, too early
      │                 for the rest, in time for its sessions
      │  ClientHello    OpenSSL settles the version, and whether an earlier session goes on
      ▼  _choose        entry for the name ─▶ its context: certificates, authorities, ALPN, staple
      │                 its policy          ─▶ alert, or verify mode of this connection
      ▼  handshake done ─▶ identity(connection)

Switching a connection to another context carries neither verify mode nor minimum version, so the
policy is enforced here, for each handshake.

OpenSSL resumes a session before it asks about the name, and would let a client resume, under a name
that demands a certificate, the session of a name that does not. What it does compare in time is the
session id context, which a connection inherits from the context it is switched to. So where names
differ in what they ask of clients, the name is read ahead of OpenSSL (:mod:`txrproxy.tls.opening`)
and the connection switched before its handshake begins: a session of names that ask something else
is then one that is not known, and a full handshake follows. A connection whose name could not be
read ahead hands out no tickets and takes none.

OpenSSL seals and opens tickets with keys of the context that a connection was made from. That one
belongs to no listener and stays for a week: who has a ticket comes back with it after a renewal,
and to any worker. When what clients have to show is another, so is the session id context, and old
tickets are worth nothing.

A connection keeps the context it was switched to, so a new table touches none that runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

from attrs import evolve, frozen
from cryptography import x509
from OpenSSL import SSL, crypto

from txrproxy.tls.binding import (
    ILLEGAL_PARAMETER,
    PROTOCOL_VERSION,
    UNRECOGNIZED_NAME,
    is_resumed,
    on_protocols,
    on_server_name,
)
from txrproxy.tls.certificates import Certificate, der
from txrproxy.tls.identity import Identity, identify
from txrproxy.tls.opening import Incomplete, Unreadable, server_name
from txrproxy.tls.profiles import ProfileName, new_context, use
from txrproxy.tls.store import CertificateStore, Entry, Policy, Table
from txrproxy.tls.tickets import sealing, turn

#: What the data path speaks, by ALPN name.
IMPLEMENTED = (b"http/1.1",)

#: The stapled OCSP response for a certificate, DER; b"" for none.
Staple = Callable[[Certificate], bytes]

_VERIFY = {
    "optional": SSL.VERIFY_PEER,
    "required": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}


@frozen(eq=False)
class _Served:
    """A table, ready to serve. ``mixed``: its names differ in what they ask of clients.

    ``shared`` is what the first context depends on: session id context and oldest version.
    ``sealing`` is what connections are made from, ``begin`` what they are switched to at once:
    where names ask the same of clients, the context of the default, as most need no other.
    """

    table: Table
    sealing: SSL.Context
    first: SSL.Context
    begin: SSL.Context
    contexts: dict[Entry, SSL.Context]
    mixed: bool
    shared: tuple[bytes, Literal["1.2", "1.3"]]


class ServerContexts:
    """Makes the server side of TLS connections.

    ``protocols`` are the ALPN names of the configuration in order of preference; those that the
    data path does not speak are not offered. ``staple`` gives OCSP responses, at once. Sessions are
    those of a ``realm``, and none of any other.

    Raises :class:`~txrproxy.tls.pem.BadPem` for a certificate that OpenSSL does not take.
    """

    def __init__(
        self,
        store: CertificateStore,
        protocols: Sequence[str],
        *,
        profile: ProfileName = "intermediate",
        session_tickets: bool = True,
        staple: Staple | None = None,
        realm: str = "",
    ) -> None:
        self.store = store
        self._realm = realm
        self._protocols = [
            name for name in map(str.encode, protocols) if name in IMPLEMENTED
        ] or list(IMPLEMENTED)
        self._profile = profile
        self._session_tickets = session_tickets
        self._staple = staple
        self._served = self._build(store.table, None)

    def connection(self) -> SSL.Connection:
        """A connection on memory BIOs that is to accept a handshake."""
        served = self._served
        connection = SSL.Connection(served.sealing)
        connection.set_context(served.begin)
        connection.set_accept_state()
        return connection

    def greet(self, connection: SSL.Connection, data: bytes) -> bool:
        """Look at what a client has sent so far, before OpenSSL does; whether it is enough."""
        served = self._served
        if not served.mixed:
            return True
        try:
            entry = served.table.select(server_name(data))
        except Incomplete:
            return False
        except Unreadable:
            return True
        if entry is not None and connection.get_context() is served.first:
            connection.set_context(served.contexts[entry])
        return True

    def identity(self, connection: SSL.Connection) -> Identity | None:
        """The client of a finished handshake, by its verified certificate; None without one."""
        if not self.policy(connection).asks:
            return None
        certificate = connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return None
        return identify(certificate, connection.get_peer_cert_chain(as_cryptography=True) or ())

    def policy(self, connection: SSL.Connection) -> Policy:
        """What was asked of the client of a finished handshake."""
        entry: Entry = connection.get_context().get_app_data()
        return entry.policy

    def admits(self, connection: SSL.Connection, host: bytes) -> bool:
        """Whether a request for ``host`` may come over a connection made for another name.

        Not if that name asks for client certificates by other rules: 421 is the answer then
        (RFC 9110 section 15.5.20), and the client is to connect under the right name.
        """
        served = self._served
        if not served.mixed:
            return True
        entry = served.table.select(host)
        return entry is None or not entry.policy.asks or entry.policy == self.policy(connection)

    @property
    def asks(self) -> bool:
        """Whether any name asks for client certificates."""
        return any(entry.policy.asks for entry in self._served.contexts)

    @property
    def mixed(self) -> bool:
        """Whether names differ in what they ask, so that :meth:`admits` has to be asked."""
        return self._served.mixed

    def update(self) -> None:
        """Serve the store's table from now on. On an error, what was served before still is."""
        self._served = self._build(self.store.table, self._served)

    def turn(self, now: float) -> None:
        """Seal the tickets of new connections with newer keys when those in use are old.

        ``now`` is as in :meth:`~txrproxy.tls.tickets.Keys.turn`.
        """
        turn(now)
        served = self._served
        made_from = self._made_from(served.shared[1], served.first)
        if made_from is not served.sealing:
            self._served = evolve(served, sealing=made_from)

    def _made_from(self, minimum: str, first: SSL.Context) -> SSL.Context:
        return sealing(self._profile, minimum) if self._session_tickets else first

    def _build(self, table: Table, before: _Served | None) -> _Served:
        entries = table.entries
        asked = {_session_policy(entry.policy) for entry in entries}
        mixed = len(asked) > 1
        # A connection whose name is not known yet shares sessions with none.
        first_id = self._session_id(("unknown",) if mixed else asked.pop())
        # The version is settled before the name is known, in the first context.
        minimum = min(entry.policy.min_version for entry in entries)
        shared = (first_id, minimum)
        if before is not None and before.shared == shared:
            first, known = before.first, before.contexts
        else:
            first, known = self._new(*shared), {}
        contexts = {entry: known.get(entry) or self._context(entry, minimum) for entry in entries}
        made_from = self._made_from(minimum, first)
        begin = first if mixed else contexts[entries[0]]
        return _Served(table, made_from, first, begin, contexts, mixed, shared)

    def _session_id(self, what: tuple[str, ...]) -> bytes:
        """The session id context of those who share sessions: at most 32 bytes."""
        return hashlib.sha256(repr((self._realm, *what)).encode()).digest()

    def _new(self, session_id: bytes, minimum: Literal["1.2", "1.3"]) -> SSL.Context:
        context = new_context(self._profile, minimum, session_tickets=self._session_tickets)
        context.set_session_id(session_id)
        on_server_name(context, self._choose)
        return context

    def _context(self, entry: Entry, minimum: Literal["1.2", "1.3"]) -> SSL.Context:
        context = self._new(self._session_id(_session_policy(entry.policy)), minimum)
        for certificate in entry.certificates:
            use(context, certificate)
        context.set_app_data(entry)
        on_protocols(context, self._protocols)
        if entry.policy.asks:
            _trust(context, entry.policy.authorities)
        if self._staple is not None:
            context.set_ocsp_server_callback(self._stapled, entry)
        return context

    def _choose(self, connection: SSL.Connection) -> int:
        """Settle by the name whose connection this is; the alert to refuse it with, or 0.

        The app data of the connection is why it is refused.
        """
        served = self._served
        if served.mixed:
            return self._choose_among(connection)
        entry = served.table.select(connection.get_servername())
        if entry is None:
            return _refuse(connection, UNRECOGNIZED_NAME, "unrecognized name")
        return self._settle(connection, entry)

    def _choose_among(self, connection: SSL.Connection) -> int:
        """The same where names differ in what they ask."""
        served = self._served
        early: Entry | None = (
            connection.get_context().get_app_data()
        )  # of the name as it was read ahead
        old = connection.get_protocol_version() < SSL.TLS1_3_VERSION
        if early is not None and old and is_resumed(connection):
            entry = early  # OpenSSL has the session's name, and not the one asked for
        else:
            chosen = served.table.select(connection.get_servername())
            if chosen is None:
                return _refuse(connection, UNRECOGNIZED_NAME, "unrecognized name")
            entry = chosen
        if early is None:
            if is_resumed(connection):
                return _refuse(connection, ILLEGAL_PARAMETER, "a session that is of no name")
            connection.set_options(SSL.OP_NO_TICKET)
        elif not entry.policy.asks_as(early.policy):
            return _refuse(connection, ILLEGAL_PARAMETER, "two names in one handshake")
        return self._settle(connection, entry)

    def _settle(self, connection: SSL.Connection, entry: Entry) -> int:
        """Make the connection that of a name, if its version is good enough."""
        policy = entry.policy
        if policy.min_version == "1.3" and connection.get_protocol_version() < SSL.TLS1_3_VERSION:
            why = "protocol version: this name asks for TLS 1.3"
            return _refuse(connection, PROTOCOL_VERSION, why)
        context = self._served.contexts[entry]
        if context is not connection.get_context():
            connection.set_context(context)
        if policy.asks:
            connection.set_verify(_VERIFY[policy.client_auth])
        return 0

    def _stapled(self, connection: SSL.Connection, entry: Entry | None) -> bytes:
        assert entry is not None
        assert self._staple is not None
        if len(entry.certificates) == 1:
            return self._staple(entry.certificates[0])
        chosen = connection.get_certificate(as_cryptography=True)
        return next((self._staple(one) for one in entry.certificates if one.leaf == chosen), b"")


def _refuse(connection: SSL.Connection, alert: int, why: str) -> int:
    connection.set_app_data(why)
    return alert


def _session_policy(policy: Policy) -> tuple[str, ...]:
    """What two names must have in common to share sessions."""
    authorities = sorted(hashlib.sha256(der(one)).hexdigest() for one in policy.authorities)
    return (policy.client_auth, *authorities)


def _trust(context: SSL.Context, authorities: Sequence[x509.Certificate]) -> None:
    """Verify clients against these, and tell clients so that they choose the right certificate."""
    store = context.get_cert_store()
    assert store is not None
    # An authority is trusted because it is named, be it a root or not.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for authority in authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))
        context.add_client_ca(authority)
