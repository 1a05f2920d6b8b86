"""The filter of a route: has its requests inspected before they go on.

::

    serve ─▶ seen a moment ago? ──────────────────────────▶ the same verdict ─▶ next
      └─▶ the beginning of the body ─▶ engines.inspect ─▶ verdict ─▶ next, or an error page

A request without a body whose like was inspected twice is not inspected again for a while: by the
same rules the same bytes get the same verdict. That holds for rules that are a function of the
request (:attr:`txrproxy.waf.rules.RuleSet.constant`), and the client's address is part of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.logger import Logger

from txrproxy import metrics
from txrproxy.errors import WAF_BLOCKED, WAF_REFUSED_RESPONSE, WAF_UNAVAILABLE
from txrproxy.http.fields import Fields
from txrproxy.http.head import RequestHead, ResponseHead
from txrproxy.routing.plan import Serve
from txrproxy.waf.audit import Masking, line
from txrproxy.waf.memo import Verdicts
from txrproxy.waf.pool import WORDS, Done, Engines
from txrproxy.waf.verdict import CLEAR, Tally, Verdict
from txrproxy.withheld import Decide, Withheld

TEXTS = frozenset(
    {b"text/html", b"text/plain", b"text/xml", b"application/json", b"application/xml"}
)
"""Kinds of response bodies that are inspected, where they are not compressed."""

_logger = Logger()


@define(eq=False)
class Sheet:
    """One rule set at work. ``number`` is its place among the engines' texts; ``memo`` has
    the verdicts of lately, and is None for rules that may change their mind."""

    engines: Engines
    number: int
    memo: Verdicts | None = None


@define(eq=False)
class Auditor:
    """Where matches are written, and verdicts counted. ``wall`` is unix time."""

    masking: Masking
    write: Callable[[str], object]
    wall: Callable[[], float]
    tally: Tally = field(factory=Counter)

    def note(self, exchange: Any, part: str, verdict: Verdict, action: str) -> None:
        now = self.wall()
        text = line(now, self.masking, part, action, verdict.score, verdict.matches, exchange)
        self.write(text)


def to_error_log(text: str) -> None:
    """Write an audit line to the error log."""
    _logger.warn("{line}", line=text)


def firewall(
    sheet: Sheet,
    auditor: Auditor,
    blocks: bool,
    closed: bool,
    limit: int,
    responses: str,
    next: Serve,
) -> Serve:
    """Inspect requests before ``next`` gets them.

    ``blocks`` says whether a request that the rules condemn ends here, or is only written down;
    ``closed`` whether one ends here for which no verdict is to be had. ``limit`` bytes of a body
    are inspected at most. Of ``responses``, the "headers" or also the "bodies" are inspected.
    """
    engines, number = sheet.engines, b"%d" % sheet.number
    memo = sheet.memo
    seconds = engines.reactor.seconds
    closed = closed and blocks
    count = auditor.tally
    counted = {"request": metrics.WAF_REQUESTS, "response": metrics.WAF_RESPONSES}

    def serve(exchange: Any) -> None:
        if responses != "off":
            exchange.withheld = Withheld(exchange, wanted, look)
        head: RequestHead = exchange.head
        if head.facts.body:
            exchange.collect(limit, inspect)
            return
        key = b""
        if memo is not None:
            target, block = head.target.origin, head.fields.block
            version = b"1" if head.facts.http_11 else b"0"
            key = b"\0".join((head.method, target, version, exchange.client, block))
            known = memo.find(key, seconds())
            if known is not None:
                count[metrics.WAF_REMEMBERED, (exchange.plan.name.decode(),)] += 1
                if condemned(exchange, "request", known, ""):
                    exchange.fail(WAF_BLOCKED)
                else:
                    next(exchange)
                return
        inspect(exchange, b"", True, key)

    def inspect(exchange: Any, body: bytes, whole: bool, key: bytes = b"") -> None:
        mark = b"1" if whole else b"0"
        parts = asked(b"request", exchange, mark, body, exchange.head.fields)

        def done(verdict: Verdict | None, why: str) -> None:
            if verdict is not None and key and memo is not None:
                memo.note(key, verdict, seconds())
            stopped = condemned(exchange, "request", verdict, why)
            if verdict is None and closed:
                exchange.fail(WAF_UNAVAILABLE)
            elif stopped:
                exchange.fail(WAF_BLOCKED)
            else:
                exchange.go_on(next)

        ask(exchange, parts, done)

    def wanted(head: ResponseHead) -> int:
        fields = head.fields
        if responses != "bodies" or fields.first(b"content-encoding"):
            return 0
        kind = fields.first(b"content-type").partition(b";")[0].strip().lower()
        return limit if kind in TEXTS else 0

    def look(exchange: Any, head: ResponseHead, content: bytes, decide: Decide) -> None:
        parts = asked(b"response", exchange, b"%d" % head.status, content, head.fields)

        def done(verdict: Verdict | None, why: str) -> None:
            stopped = condemned(exchange, "response", verdict, why)
            if verdict is None and closed:
                decide(WAF_UNAVAILABLE)
            elif stopped:
                decide(WAF_REFUSED_RESPONSE)
            else:
                decide(None)

        ask(exchange, parts, done)

    def asked(kind: bytes, exchange: Any, about: bytes, body: bytes, fields: Fields) -> list[bytes]:
        head: RequestHead = exchange.head
        version = b"1.1" if head.facts.http_11 else b"1.0"
        parts = [kind, number, exchange.client, head.method, head.target.origin, version]
        parts += (exchange.request_id, about, body)
        for each in fields.lines:
            parts += each[:2]
        return parts

    def ask(exchange: Any, parts: list[bytes], done: Done) -> None:
        inspection = engines.inspect(parts, done)
        if inspection.done is not None:
            exchange.at_end = (*exchange.at_end, lambda _: engines.cancel(inspection))

    def condemned(exchange: Any, part: str, verdict: Verdict | None, why: str) -> bool:
        """Count a verdict, and write it down if something matched; whether it ends here."""
        route = exchange.plan.name.decode()
        if verdict is None:
            result = "unavailable"
            count[metrics.WAF_FAILURES, (route, WORDS[why])] += 1
        elif verdict is CLEAR:
            result = "clear"
        elif not verdict.blocked:
            result = "passed"
        else:
            result = "blocked" if blocks else "detected"
        count[counted[part], (route, result)] += 1
        if verdict is not None and verdict is not CLEAR:
            auditor.note(exchange, part, verdict, result)
        return result == "blocked"

    return serve
