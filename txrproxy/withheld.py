"""A response that its client does not see before it has been looked at, or seen to.

::

    on_response ─▶ takes ─▶ enough of it? ─▶ look(exchange, head, content, decide)
    on_response_body ─▶ more ─┘                           │
    on_response, once more ◀── let through ◀── decide(None)
    an error page ◀──────────── refused ◀───── decide(reason)

The backend waits while the response does, so that no more of it is kept than is looked at, and what
was on its way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txrproxy.errors import Reason
from txrproxy.http.fields import EMPTY, Fields
from txrproxy.http.head import ResponseHead

Decide = Callable[["Reason | None"], None]
SeeTo = Callable[[ResponseHead, Callable[[], object]], object]


def withhold(exchange: Any, see_to: SeeTo) -> None:
    """Keep the response of an exchange back until something was seen to."""
    if exchange.withheld is None:
        exchange.withheld = Withheld(exchange, lambda head: 0, lambda *given: given[-1](None))
    exchange.withheld.first(see_to)


class Withheld:
    """The response of one exchange; it may be another one after a retry.

    ``wanted(head)`` says how many bytes of the body ``look`` is to be given.
    """

    __slots__ = (
        "_content",
        "_ended",
        "_exchange",
        "_head",
        "_judged",
        "_length",
        "_look",
        "_open",
        "_size",
        "_trailers",
        "_turn",
        "_upstream",
        "_want",
        "_wanted",
    )

    def __init__(
        self,
        exchange: Any,
        wanted: Callable[[ResponseHead], int],
        look: Callable[[Any, ResponseHead, bytes, Decide], object],
    ) -> None:
        self._exchange = exchange
        self._wanted = wanted
        self._look = look
        self._open = False
        self._head: Any = None  # while something is withheld
        self._upstream: Any = None
        self._turn = 0

    def first(self, see_to: SeeTo) -> None:
        """Before it is looked at, see to something, which calls ``go_on()`` when that is done."""
        look = self._look

        def both(exchange: Any, head: ResponseHead, content: bytes, decide: Decide) -> None:
            see_to(head, lambda: look(exchange, head, content, decide))

        self._look = both

    def takes(
        self, head: ResponseHead, length: int, content: bytes, ended: bool, judged: bool
    ) -> bool:
        """A response has begun; False if it has been let through."""
        if self._open:
            self._open = False
            return False
        exchange = self._exchange
        self._turn += 1
        self._head, self._length, self._judged = head, length, judged
        self._content = [content]
        self._size = len(content)
        self._trailers = EMPTY
        self._want = self._wanted(head)
        self._upstream = exchange.upstream
        self._ended = False
        self._arrived(ended)
        return True

    def more(self, content: bytes, ended: bool, trailers: Fields) -> bool:
        """More of it has arrived; False if it is not withheld any more."""
        if self._head is None:
            return False
        self._content.append(content)
        self._size += len(content)
        self._trailers = trailers
        self._arrived(ended)
        return True

    def _arrived(self, ended: bool) -> None:
        upstream = self._upstream
        if ended:
            self._ended = True
            self._exchange.upstream = None
            if self._want < 0:
                upstream.transport.resumeProducing()  # it is another's now
        if self._want < 0:  # looked at already
            return
        want = self._want
        if ended or self._size >= want:
            self._want = -1
            content = b"".join(self._content)
            self._content = [content]
            if not ended:
                upstream.pause()
            turn = self._turn
            self._look(
                self._exchange,
                self._head,
                content[:want],
                lambda reason: self._decide(turn, reason),
            )

    def _decide(self, turn: int, reason: Reason | None) -> None:
        exchange, head = self._exchange, self._head
        if exchange.over or turn != self._turn or head is None:
            return
        self._head = None
        if reason is not None:
            exchange.refuse_response(reason)
            return
        self._open = True
        content = b"".join(self._content)
        ended, trailers = self._ended, self._trailers
        if not ended:
            self._upstream.resume()
        exchange.on_response(head, self._length, content, ended and not trailers, self._judged)
        if ended and trailers and not exchange.over:
            exchange.on_response_body(b"", True, trailers)
