"""Readers driven from bytes to events, however the bytes are split on their way.

A wire case is bytes and the events that they must become. :func:`every_split` is the habit of this
suite: each case whole, byte by byte, in pieces at random, and with more behind it.

Events are tuples that begin with a word::

    ("request", method, target, host, block)    ("response", status, block, length)
    ("body", content, trailers)                 ("informational", status)
    ("bad", reason name)                        ("switch", rest)
    ("unsolicited",)                            ("unfinished", state)

Content is joined until its end, because its pieces are those of the network.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

from txrproxy.errors import Reason
from txrproxy.http.connection import HEAD, IDLE, RequestReader, ResponseReader
from txrproxy.http.head import RequestHead, ResponseHead

Event = tuple[Any, ...]

RANDOM_SPLITS = 4


class Server(RequestReader):
    """Records what a client sends, and answers each request at once.

    With ``later``, requests are answered by :meth:`answer` only.
    """

    def __init__(
        self, max_head: int = 32 * 1024, max_fields: int = 128, later: bool = False
    ) -> None:
        super().__init__(max_head, max_fields)
        self.events: list[Event] = []
        self.heads: list[RequestHead] = []
        self.incomplete = 0
        self.pipelined = 0
        self.long_turns = 0
        self._later = later
        self._content = b""

    def on_request(self, head: RequestHead) -> None:
        self.heads.append(head)
        fields = head.fields.block
        self.events.append(("request", head.method, head.target.origin, head.authority, fields))
        self._content = b""
        if not head.facts.body and not self._later:
            self.proceed()

    def on_incomplete_head(self) -> None:
        self.incomplete += 1

    def on_body(self, content: bytes, ended: bool) -> None:
        self._content += content
        if ended:
            self.events.append(("body", self._content, self.trailers.block))
            if not self._later:
                self.proceed()
        else:
            assert content

    def on_pipelined(self) -> None:
        self.pipelined += 1

    def on_long_turn(self) -> None:
        self.long_turns += 1

    def on_bad_request(self, reason: Reason) -> None:
        self.events.append(("bad", reason.name))

    def answer(self) -> None:
        self.proceed()


class Client(ResponseReader):
    """Records what a backend answers to requests with ``methods``, one after another."""

    def __init__(self, methods: Iterable[bytes] = (b"GET",), upgrading: bool = False) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.upgrading = upgrading
        self._methods = iter(methods)
        self._content = b""
        self.next()

    def next(self) -> None:
        """Send the next request, as it were."""
        method = next(self._methods, None)
        if method is not None:
            self.expect(method)

    def on_response(self, head: ResponseHead, length: int, content: bytes, ended: bool) -> None:
        self.events.append(("response", head.status, head.fields.block, length))
        self._content = b""
        self.on_body(content, ended)

    def on_informational(self, head: ResponseHead) -> None:
        self.events.append(("informational", head.status))

    def on_switch(self, head: ResponseHead, rest: bytes) -> None:
        self.events.append(("switch", rest))

    def on_body(self, content: bytes, ended: bool) -> None:
        self._content += content
        if ended:
            self.events.append(("body", self._content, self.trailers.block))

    def on_bad_response(self, reason: Reason) -> None:
        self.events.append(("bad", reason.name))

    def on_unsolicited(self) -> None:
        self.events.append(("unsolicited",))


def requests(pieces: Iterable[bytes], **limits: int) -> list[Event]:
    """What becomes of the pieces that a client sends."""
    server = Server(**limits)
    for piece in pieces:
        server.receive(piece)
    if server.state is not HEAD and server.events[-1][0] != "bad":
        server.events.append(("unfinished", server.state))
    elif server.buffered:
        server.events.append(("unfinished", HEAD))
    return server.events


def responses(
    pieces: Iterable[bytes],
    method: bytes = b"GET",
    upgrading: bool = False,
    closes: bool = False,
) -> list[Event]:
    """What becomes of the pieces that a backend answers to one request."""
    client = Client([method], upgrading)
    for piece in pieces:
        client.receive(piece)
    if closes:
        client.end_of_input()
    if client.state in ("head", "body"):
        client.events.append(("unfinished", client.state))
    return client.events


def splits(data: bytes, seed: int = 0) -> Iterator[list[bytes]]:
    """The bytes whole, one by one, and in pieces at random."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    chance = random.Random(f"{seed} {data!r}")
    for _ in range(RANDOM_SPLITS):
        yield split_at(data, sorted(chance.choices(range(len(data) + 1), k=5)))


def split_at(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The bytes cut at these places, without empty pieces."""
    pieces = []
    start = 0
    for place in [*places, len(data)]:
        if place > start:
            pieces.append(data[start:place])
            start = place
    return pieces


def is_idle(state: str) -> bool:
    """Whether a reader of responses awaits nothing."""
    return state is IDLE
