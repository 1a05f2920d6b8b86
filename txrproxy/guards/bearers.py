"""JSON Web Tokens: where the keys come from, and who passes with which token.

Keys are of a file that is followed, or of a URL that is asked now and then. A token that names a
key which nobody knows makes the URL be asked at once, but not more often than every
:data:`NOT_SOONER` seconds: a new key is published before it signs, and a stranger must not be able
to have the URL asked all the time. What was read last counts until there is something better.

Checking a signature takes some tens of microseconds, so a token that was good is remembered until
it expires or the keys change, as a hash.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from txrproxy.errors import AUTH_UNAVAILABLE, UNAUTHORIZED, Reason
from txrproxy.exchange import Exchange
from txrproxy.filters.bounded import Bounded
from txrproxy.filters.tokens import (
    BadKeys,
    BadToken,
    Key,
    Rules,
    UnknownKey,
    Verified,
    challenge,
    find,
    parse_keys,
    verify,
)
from txrproxy.guards.passwords import told
from txrproxy.guards.subrequest import Answer, Server, Subrequest
from txrproxy.routing.plan import Serve

_logger = Logger()

NOT_SOONER = 10.0  # seconds between two looks at a URL
REMEMBERED = 8192  # tokens
WAITING = 1024  # requests that wait for keys

_ACCEPT = b"Accept: application/jwk-set+json, application/json\r\n"


class FixedKeys:
    """Keys of a file; ``value()`` gives them as they are now."""

    def __init__(self, value: Callable[[], tuple[Key, ...]]) -> None:
        self._value = value

    @property
    def keys(self) -> tuple[Key, ...]:
        return self._value()

    def renew(self, exchange: Exchange, then: Serve) -> bool:
        """There is nobody to ask."""
        return False


class FetchedKeys:
    """Keys of a URL, empty until they were read for the first time.

    ``interval`` is how often it is asked, in seconds; ``clock`` is an ``IReactorTime``. ``changed``
    is called when there are others.
    """

    def __init__(
        self,
        server: Server,
        url: str,
        interval: float,
        clock: Any,
        changed: Callable[[], None],
    ) -> None:
        self.keys: tuple[Key, ...] = ()
        self._server = server
        self._url = url
        self._interval = interval
        self._clock = clock
        self._changed = changed
        self._content = b""
        self._why = ""  # there was no answer the last time
        self._request: Subrequest | None = None
        self._call: Any = None
        self._asked: float | None = None
        self._waiters: dict[Exchange, Serve] = {}

    def start(self) -> None:
        """Ask now, and again and again."""
        if self._request is None:
            self._ask()

    def stop(self) -> None:
        """Ask no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._request is not None:
            self._request.cancel()
            self._request = None

    def renew(self, exchange: Exchange, then: Serve) -> bool:
        """Ask, if that was not done just now, and let the exchange wait for it."""
        if self._request is None and self._asked is not None:
            if self._clock.seconds() - self._asked < NOT_SOONER:
                return False
        elif len(self._waiters) >= WAITING:
            return False
        exchange.hold()
        self._waiters[exchange] = then
        exchange.at_end = (*exchange.at_end, lambda exchange: self._waiters.pop(exchange, None))
        if self._request is None:
            self._ask()
        return True

    def _ask(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        self._asked = self._clock.seconds()
        self._request = request = Subrequest(self._server, _ACCEPT, self._answered)
        request.start()

    def _answered(self, answer: Answer | None, reason: Reason | None) -> None:
        self._request = None
        why = self._take(answer, reason)
        before, self._why = self._why, why
        if before and not why:
            _logger.info("{url} has keys again", url=self._url)
        elif why != before:
            _logger.error(
                "no keys from {url}: {why}{kept}",
                url=self._url,
                why=why,
                kept="; those of before still count" if self.keys else "; tokens are refused",
            )
        pause = min(self._interval, NOT_SOONER) if why else self._interval
        self._call = self._clock.callLater(pause, self._ask)
        waiters, self._waiters = self._waiters, {}
        for exchange, then in waiters.items():
            exchange.go_on(then)

    def _take(self, answer: Answer | None, reason: Reason | None) -> str:
        """Use the answer; why it can not be, else nothing."""
        if answer is None or not answer.whole:
            return reason.name if reason is not None else "no answer"
        if answer.head.status != 200:
            return f"status {answer.head.status}"
        if answer.body != self._content:
            try:
                self.keys = parse_keys(answer.body)
            except BadKeys as error:
                return str(error)
            self._content = answer.body
            self._changed()
        return ""


class Tokens:
    """The tokens of one policy. ``wall`` gives unix time; ``keys`` is set before the first use."""

    keys: FixedKeys | FetchedKeys

    def __init__(self, rules: Rules, wall: Callable[[], float]) -> None:
        self.rules = rules
        self._wall = wall
        self._secret = os.urandom(32)
        self._known: Bounded[Verified] = Bounded(REMEMBERED)

    def forget(self) -> None:
        """The keys have changed: look at every token anew."""
        self._known.clear()

    def verify(self, token: bytes) -> Verified:
        """What it says. Raises :class:`~txrproxy.filters.tokens.BadToken`."""
        mark = hashlib.blake2b(token, key=self._secret, digest_size=32).digest()
        now = self._wall()
        known = self._known.get(mark)
        if known is not None and known.expires > now:
            return known
        verified = verify(token, self.keys.keys, self.rules, now)
        self._known.put(mark, verified)
        return verified


def jwt(tokens: Tokens, realm: str, required: bool, next: Serve) -> Serve:
    """Only requests with a good token; without one, only where none is ``required``."""

    def refuse(exchange: Exchange, why: str) -> None:
        exchange.added = (*exchange.added, challenge(realm, why))
        exchange.fail(UNAUTHORIZED)

    def judge(exchange: Exchange, token: bytes, again: bool) -> None:
        try:
            verified = tokens.verify(token)
        except UnknownKey as error:
            if again and tokens.keys.renew(exchange, lambda e: judge(e, token, False)):
                return
            if tokens.keys.keys:
                refuse(exchange, str(error))
            else:
                exchange.fail(AUTH_UNAVAILABLE)
        except BadToken as error:
            refuse(exchange, str(error))
        else:
            exchange.user = verified.subject or exchange.user
            exchange.sent = told(exchange.sent, verified.lines)
            next(exchange)

    def serve(exchange: Exchange) -> None:
        fields = exchange.head.fields
        try:
            token = find(tokens.rules, fields.all(b"authorization"), fields.all(b"cookie"))
        except BadToken as error:
            refuse(exchange, str(error))
            return
        if token is not None:
            judge(exchange, token, True)
        elif required:
            refuse(exchange, "")
        else:
            next(exchange)

    return serve
