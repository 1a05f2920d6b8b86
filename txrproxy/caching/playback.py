"""The way of a body that is kept, or being filled, to one client: at the client's own pace.

To its exchange each of these is what an upstream connection is else: it is paused and resumed, and
abandoned when the client has left.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from txrproxy.cache.collapse import Flight
from txrproxy.cache.policy import Answer, Part
from txrproxy.cache.reading import Copy
from txrproxy.errors import INTERNAL, TRUNCATED

Later = Callable[[Callable[[], None]], object]
"""Calls in the next turn of the loop."""

PIECE = 64 * 1024  # bytes handed to a client's connection that takes no more for now
A_TURN = 4  # pieces in one turn of the loop: others want their turn, too


def play(
    exchange: Any,
    copy: Copy,
    made: Answer,
    more: bytes,
    otherwise: Callable[[Any], None],
    later: Later,
) -> None:
    """Send what was made of a copy, with ``more`` lines in its head.

    ``otherwise`` is what to do if the copy proves to be damaged before anything of it was sent.
    """

    def checked(ready: int) -> None:
        """What is sent first had to be read from the disk; 0 if it is damaged."""
        if exchange.over:
            copy.close()
        elif ready:
            exchange.go_on(lambda exchange: begin(ready))
        else:
            exchange.go_on(otherwise)
            copy.close()

    def begin(ready: int) -> None:
        exchange.respond(made.head, made.length, b"", False, more)
        Playback(exchange, copy, made.parts, made.tail, ready, later).start()

    if exchange.head.method == b"HEAD" or not made.length:
        copy.close()
        exchange.respond(made.head, 0, b"", True, more)
    elif copy.body is not None:
        content = b"".join(
            [part.head + copy.body[part.start : part.start + part.length] for part in made.parts]
        )
        exchange.respond(made.head, made.length, content + made.tail, True, more)
    elif ready := copy.ready(made.parts[0].start, checked):
        begin(ready)


class Playback:
    """Sends parts of the body of a copy in a file. ``later(call)`` calls in the next turn.

    ``ready`` is how many bytes may be sent from the first part's start on, as the copy said.
    """

    def __init__(
        self,
        exchange: Any,
        copy: Copy,
        parts: tuple[Part, ...],
        tail: bytes,
        ready: int,
        later: Later,
    ) -> None:
        self._exchange = exchange
        self._copy = copy
        self._parts = list(parts)
        self._tail = tail
        self._later = later
        self._place = -1  # in the part at the front, relative to the body; -1 before its head
        self._ready = ready  # bytes from there on that need not be asked for again
        self._paused = False
        self._busy = False  # sending, or waiting to be called

    def start(self) -> None:
        """Begin; the head of the response is out."""
        exchange = self._exchange
        exchange.upstream = self
        if exchange.downstream.writing:
            self._paused = True
        else:
            self._send()

    # The exchange's side.

    def pause(self) -> None:
        """The client does not take what is written to it."""
        self._paused = True

    def resume(self) -> None:
        """It does again."""
        self._paused = False
        if not self._busy:
            self._ready = 0  # that may have taken long: what was in memory may be no longer
            self._send()

    def abandon(self) -> None:
        """Nobody is left to send to."""
        self._exchange = None
        self._copy.close()

    # The copy's side.

    def _go_on(self, damaged: bool = False) -> None:
        self._busy = False
        if self._exchange is None:
            return
        if damaged:
            exchange, self._exchange = self._exchange, None
            self._copy.close()
            exchange.upstream = None
            exchange.cut(INTERNAL)
        elif not self._paused:
            self._send()

    def _send(self) -> None:
        self._busy = True
        for _ in range(A_TURN):
            if not self._parts:
                self._finish()
                return
            if not self._step():
                return  # a thread is asked; it calls back
            if self._exchange is None:
                return
            if self._paused:
                self._busy = False
                return
        self._later(self._go_on)

    def _step(self) -> bool:
        """Send some; False if it takes time to get at it."""
        part, copy, exchange = self._parts[0], self._copy, self._exchange
        if self._place < 0:
            self._place = part.start
            if part.head:
                exchange.more(part.head)
        if not self._ready:
            ready = copy.ready(self._place, self._is_ready)
            if not ready:
                return False
            self._ready = ready
        size = min(part.start + part.length - self._place, self._ready)
        sent = exchange.more_of(copy.fd, copy.offset + self._place, size)
        if sent:
            self._took(sent)
            return True
        data = os.pread(copy.fd, min(size, PIECE), copy.offset + self._place)
        if data:
            self._took(len(data))
            exchange.more(data)
        else:
            self._go_on(damaged=True)  # somebody has cut the file
        return True

    def _took(self, count: int) -> None:
        self._place += count
        self._ready -= count
        part = self._parts[0]
        if self._place >= part.start + part.length:
            del self._parts[0]
            self._place = -1
            self._ready = 0

    def _is_ready(self, count: int) -> None:
        # It counts even where the copy would not say so if it were asked again, or there would be
        # no end of asking: not every file system can tell what is in memory.
        self._ready = count
        self._go_on(damaged=not count)

    def _finish(self) -> None:
        exchange, self._exchange = self._exchange, None
        self._copy.close()
        if self._tail:
            exchange.more(self._tail)
        exchange.end()


class Following:
    """Reads along while a response is being filled."""

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange
        self._reader: Any = None
        self._paused = False
        self._sending = False

    def begin(self, flight: Flight) -> None:
        """Read from the beginning; the head of the response is out."""
        self._exchange.upstream = self
        self.read(flight.follow(self, 0))

    def read(self, reader: Any) -> None:
        """Read by this reader."""
        self._reader = reader
        self._paused = self._exchange.downstream.writing
        self.on_data()

    # The exchange's side.

    def pause(self) -> None:
        """The client does not take what is written to it."""
        self._paused = True

    def resume(self) -> None:
        """It does again."""
        self._paused = False
        self.on_data()

    def abandon(self) -> None:
        """Nobody is left to send to."""
        self._exchange = None
        if self._reader is not None:
            self._reader.close()

    # The flight's side. A leader's own client does not wait for a head, so it is asked nothing.

    def on_data(self) -> None:
        """There may be more to take, or it has ended, or failed."""
        reader = self._reader
        if self._sending or reader is None:
            return
        self._sending = True
        try:
            while self._exchange is not None and not self._paused:
                data = reader.take(PIECE)
                if not data:
                    break
                self._exchange.more(data)
        finally:
            self._sending = False
        exchange = self._exchange
        if exchange is None:
            return
        if reader.ended:
            self._leave()
            exchange.end()
        elif reader.failed:
            self._leave()
            exchange.upstream = None
            exchange.cut(TRUNCATED)

    def _leave(self) -> None:
        self._exchange = None
        self._reader.close()
