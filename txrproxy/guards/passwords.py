"""HTTP Basic authentication: passwords are checked in threads, and remembered if they were right.

A check takes a good part of a second, by design of the hash. So few run at a time, in the threads
of the reactor; some more wait in line, few of them for one client, and beyond that the answer is
503. The same request that comes again meanwhile waits for the same check.

What is remembered for a while is a keyed hash of the field, with a key that never leaves the
process; a memory image holds no password and nothing to guess one with. When the file of users
changes, what is remembered of a user counts only if the user's hash is still the same.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from txrproxy.errors import AUTH_BUSY, UNAUTHORIZED
from txrproxy.exchange import Exchange
from txrproxy.filters import basic, htpasswd
from txrproxy.filters.bounded import Bounded
from txrproxy.filters.keys import key
from txrproxy.http.fields import Line, make_line
from txrproxy.routing.plan import Serve

_logger = Logger()
_client = key([("client_ip", "")])  # who has a network of IPv6 is one

AT_ONCE = 2  # checks that run; threads are for name look-ups too
WAITING = 64  # checks that wait
OF_ONE_CLIENT = 8  # of those
REMEMBERED = 4096  # fields
LIFE = 300.0  # seconds


class _Check:
    """One check, running or in line, and the exchanges that wait for what it says."""

    __slots__ = ("client", "hashed", "known", "mark", "name", "password", "waiters")

    def __init__(
        self, mark: bytes, client: bytes, name: bytes, password: bytes, hashed: bytes, known: bool
    ) -> None:
        self.mark = mark
        self.client = client
        self.name = name
        self.password = password
        self.hashed = hashed
        self.known = known
        self.waiters: dict[Exchange, Callable[[bool], None]] = {}

    def leave(self, exchange: Exchange) -> None:
        """Its client is gone."""
        self.waiters.pop(exchange, None)

    def run(self) -> bool:
        """In a thread."""
        return htpasswd.verify(self.hashed, self.password) and self.known


class Passwords:
    """The users of one file. ``users()`` gives them as they are now; ``in_thread`` runs a function
    elsewhere and returns a Deferred of its result."""

    def __init__(
        self,
        users: Callable[[], htpasswd.Users],
        *,
        in_thread: Callable[..., Deferred[Any]] = deferToThread,
    ) -> None:
        self._users = users
        self._in_thread = in_thread
        self._secret = os.urandom(32)
        self._right: Bounded[tuple[bytes, bytes, float]] = Bounded(REMEMBERED)
        self._checks: dict[bytes, _Check] = {}
        self._line: deque[_Check] = deque()
        self._of_client: dict[bytes, int] = {}
        self._running = 0

    def mark(self, field: bytes) -> bytes:
        """What stands for a field that has a password in it."""
        return hashlib.blake2b(field, key=self._secret, digest_size=32).digest()

    def remembered(self, mark: bytes, now: float) -> bytes | None:
        """The name of the user whose field was right a while ago."""
        found = self._right.get(mark)
        if found is None:
            return None
        name, hashed, until = found
        if until <= now or self._users().hashes.get(name) != hashed:
            self._right.discard(mark)
            return None
        return name

    def check(
        self,
        exchange: Exchange,
        mark: bytes,
        name: bytes,
        password: bytes,
        done: Callable[[bool], None],
    ) -> bool:
        """Begin to check; ``done`` is told what came out. False: there is too much to do."""
        check = self._checks.get(mark)
        if check is None:
            client = _client(exchange)
            mine = self._of_client.get(client, 0)
            if mine >= OF_ONE_CLIENT or len(self._line) >= WAITING:
                return False
            hashed, known = self._users().entry(name, self._secret)
            check = _Check(mark, client, name, password, hashed, known)
            self._checks[mark] = check
            self._of_client[client] = mine + 1
            self._line.append(check)
        check.waiters[exchange] = done
        exchange.at_end = (*exchange.at_end, check.leave)
        self._go_on()
        return True

    def _go_on(self) -> None:
        while self._line and self._running < AT_ONCE:
            check = self._line.popleft()
            if not check.waiters:
                self._forget(check)
                continue
            self._running += 1
            checked = self._in_thread(check.run)
            checked.addErrback(self._failed)
            checked.addCallback(self._checked, check)

    def _failed(self, failure: Failure) -> bool:
        _logger.failure("checking a password failed", failure)
        return False

    def _checked(self, right: bool, check: _Check) -> None:
        self._running -= 1
        self._forget(check)
        waiters, check.waiters = check.waiters, {}
        if right and waiters:
            now = next(iter(waiters)).site.seconds()
            self._right.put(check.mark, (check.name, check.hashed, now + LIFE))
        for done in waiters.values():
            done(right)
        self._go_on()

    def _forget(self, check: _Check) -> None:
        del self._checks[check.mark]
        left = self._of_client[check.client] - 1
        if left:
            self._of_client[check.client] = left
        else:
            del self._of_client[check.client]


def basic_auth(passwords: Passwords, realm: str, user_field: bytes, next: Serve) -> Serve:
    """Only users of the file; the backend is told who it is in ``user_field``."""
    challenge = basic.challenge(realm)

    def admit(exchange: Exchange, name: bytes) -> None:
        exchange.user = name
        exchange.sent = told(exchange.sent, [make_line(user_field, name)])
        next(exchange)

    def refuse(exchange: Exchange) -> None:
        exchange.added = (*exchange.added, challenge)
        exchange.fail(UNAUTHORIZED)

    def serve(exchange: Exchange) -> None:
        values = exchange.head.fields.all(b"authorization")
        given = basic.credentials(values)
        if given is None:
            refuse(exchange)
            return
        mark = passwords.mark(values[0])
        known = passwords.remembered(mark, exchange.started)
        if known is not None:
            admit(exchange, known)
            return
        name, password = given

        def done(right: bool) -> None:
            exchange.go_on((lambda exchange: admit(exchange, name)) if right else refuse)

        exchange.hold()
        if not passwords.check(exchange, mark, name, password, done):
            exchange.fail(AUTH_BUSY)

    return serve


def told(sent: tuple[Line, ...], lines: Iterable[Line]) -> tuple[Line, ...]:
    """What a backend is told, with these lines in the place of others of their names."""
    new = tuple(lines)
    names = {line[0] for line in new}
    return (*(line for line in sent if line[0] not in names), *new)
