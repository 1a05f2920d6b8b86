"""The filter of a route: has its requests inspected before they go on.

::

    serve ─▶ seen and cleared a moment ago? ─────────────────────────────────▶ next
      └─▶ the beginning of the body ─▶ engines.inspect ─▶ verdict ─▶ next, or an error page

A request without a body whose head was cleared twice is not inspected again for a while: by the
same rules the same bytes get the same verdict. That holds for rules that are a function of the
request (:attr:`txrproxy.waf.rules.RuleSet.constant`), and the client's address is part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.logger import Logger

from txrproxy.errors import WAF_BLOCKED, WAF_UNAVAILABLE
from txrproxy.http.head import RequestHead
from txrproxy.routing.plan import Serve
from txrproxy.waf.audit import Masking, line
from txrproxy.waf.memo import Cleared
from txrproxy.waf.pool import CLEAR, Engines, Verdict

_logger = Logger()


@define(eq=False)
class Sheet:
    """One rule set at work. ``number`` is its place among the engines' texts; ``memo`` has
    what was cleared lately, and is None for rules that may change their mind."""

    engines: Engines
    number: int
    memo: Cleared | None = None


@define(eq=False)
class Auditor:
    """Where matches are written. ``wall`` is unix time."""

    masking: Masking
    write: Callable[[str], object]
    wall: Callable[[], float]

    def note(self, exchange: Any, verdict: Verdict, blocks: bool) -> None:
        action = "blocked" if verdict.blocked and blocks else "detected"
        if not verdict.blocked:
            action = "passed"
        now = self.wall()
        text = line(now, self.masking, action, verdict.score, verdict.matches, exchange)
        self.write(text)


def to_error_log(text: str) -> None:
    """Write an audit line to the error log."""
    _logger.warn("{line}", line=text)


def firewall(
    sheet: Sheet, auditor: Auditor, blocks: bool, closed: bool, limit: int, next: Serve
) -> Serve:
    """Inspect requests before ``next`` gets them.

    ``blocks`` says whether a request that the rules condemn ends here, or is only written down;
    ``closed`` whether one ends here for which no verdict is to be had. ``limit`` bytes of the body
    are inspected at most.
    """
    engines, number = sheet.engines, b"%d" % sheet.number
    memo = sheet.memo
    seconds = engines.reactor.seconds

    def serve(exchange: Any) -> None:
        head: RequestHead = exchange.head
        if head.facts.body:
            exchange.collect(limit, inspect)
            return
        key = b""
        if memo is not None:
            target, block = head.target.origin, head.fields.block
            version = b"1" if head.facts.http_11 else b"0"
            key = b"\0".join((head.method, target, version, exchange.client, block))
            if memo.holds(key, seconds()):
                next(exchange)
                return
        inspect(exchange, b"", True, key)

    def inspect(exchange: Any, body: bytes, whole: bool, key: bytes = b"") -> None:
        head: RequestHead = exchange.head
        version = b"1.1" if head.facts.http_11 else b"1.0"
        parts = [b"request", number, exchange.client, head.method, head.target.origin, version]
        parts += (exchange.request_id, b"1" if whole else b"0", body)
        for field in head.fields.lines:
            parts += field[:2]

        def done(verdict: Verdict | None, why: str) -> None:
            if verdict is CLEAR:
                if key and memo is not None:
                    memo.note(key, seconds())
            elif verdict is None:
                if closed and blocks:
                    exchange.fail(WAF_UNAVAILABLE)
                    return
            else:
                auditor.note(exchange, verdict, blocks)
                if verdict.blocked and blocks:
                    exchange.fail(WAF_BLOCKED)
                    return
            exchange.go_on(next)

        inspection = engines.inspect(parts, done)
        if inspection.done is not None:
            exchange.at_end = (*exchange.at_end, lambda _: engines.cancel(inspection))

    return serve
