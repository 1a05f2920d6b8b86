"""Foreign resources: any ``twisted.web`` resource, mounted on a route of ours.

To the exchange, a :class:`Channel` is an upstream: it takes the request body and is paused, resumed
and abandoned like one. To the resource, it is what a ``twisted.web`` connection is to its request.
In between it keeps whole what ``twisted.web`` wants whole, the request body, and in a temporary
file what is large::

    Downstream ─ Exchange ──send, end──▶ Channel ─ Request ─ IResource
                    ▲ ◀──respond, body, finish──┘     │
                    └─ pause, resume, abandon ─▶ registered producer, notifyFinish

Only here does a request become a ``twisted.web.server.Request``. The resource sees the fields that
a backend would be sent, minus those of the hop: what a client says of itself by ``X-Forwarded-For``
is gone, or comes from a trusted proxy.

Here is the mount; ``channel`` is between the two, ``request`` is what the resource renders, and
``heads`` turns heads of ours into theirs and back.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.web.resource import IResource
from twisted.web.server import Site

from txrproxy.errors import BODY_TOO_LARGE
from txrproxy.exchange import Exchange
from txrproxy.foreign.channel import Channel
from txrproxy.http.forward import ResponseBlock
from txrproxy.http.head import RequestHead
from txrproxy.http.status import STATUS_LINES
from txrproxy.http.target import keeps_segments
from txrproxy.routing.match import Conditions
from txrproxy.routing.plan import Serve

MAX_BODY = 1 << 30  # bytes of a request body where no policy has a limit

_NO_FIELDS = ResponseBlock(())


def serve_resource(found: Any, conditions: Conditions, reactor: Any) -> Serve:
    """What a plan does to serve a ``twisted.web`` resource.

    ``found`` provides ``IResource``, or is called without arguments for one that does. A prefix
    that ``conditions`` ask for is to the resource what ``putChild`` makes of it: ``prepath``.
    ``reactor`` provides IReactorTime. Raises TypeError for what is no resource.
    """
    resource = found
    if not IResource.providedBy(resource):
        if not callable(found):
            raise TypeError("neither an IResource nor a callable that returns one")
        resource = found()
        if not IResource.providedBy(resource):
            raise TypeError(f"calling it gave {type(resource).__name__}, which is no IResource")
    return _Mount(resource, conditions, reactor).serve


class _Mount(Site):
    """The site of one mounted resource: the sessions, and where in the tree it is."""

    def __init__(self, resource: Any, conditions: Conditions, reactor: Any) -> None:
        super().__init__(resource, reactor=reactor)
        self.clock = reactor
        self._conditions = conditions
        # Names the session cookie, so that two mounted resources do not take each other's.
        first = conditions.paths[0].text.strip(b"/")
        self._sitepath = [re.sub(rb"[^A-Za-z0-9]+", b"_", first)] if first else []

    def serve(self, exchange: Exchange) -> None:
        """Answer the exchange with the resource, once the request body is there."""
        facts = exchange.head.facts
        limit = exchange.plan.body_limit
        if limit is None:
            limit = MAX_BODY
        if facts.body > limit:
            exchange.fail(BODY_TOO_LARGE)
            return
        exchange.upstream = channel = Channel(self, exchange, limit)
        if not facts.body:
            channel.end(exchange.started)
            return
        if facts.expects_continue and not exchange.continued:
            exchange.downstream.informational(STATUS_LINES[100], _NO_FIELDS)
        exchange.release()

    def getResourceFor(self, request: Any) -> Any:
        request.prepath, request.postpath = self.place(request.channel.head)
        found = super().getResourceFor(request)
        request.sitepath = list(self._sitepath)
        return found

    def place(self, head: RequestHead) -> tuple[list[bytes], list[bytes]]:
        """The segments of the path above the resource, and below it, decoded.

        Below, the client's own spelling is decoded, unless it holds dot segments or the like.
        """
        path = head.path
        prefix = self._conditions.prefix(path)
        above = prefix.rstrip(b"/")
        if prefix == above and path[len(above) : len(above) + 1] not in (b"", b"/"):
            above = above[: above.rfind(b"/")]  # "/doc*" has taken "/documents"
        below = head.target.path
        if not below.startswith(prefix) or not keeps_segments(below, path):
            below = path
        below = below[len(above) :]
        return _segments(above), _segments(below)


def _segments(path: bytes) -> list[bytes]:
    return [unquote_to_bytes(segment) for segment in path.split(b"/")[1:]]
