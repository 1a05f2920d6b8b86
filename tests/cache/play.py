"""A cache made of the policy alone, in front of a scripted origin, as a conversation.

``origin(...)`` says what the origin answers from now on, ``ask(...)`` is a client's request, and
``wait(...)`` moves the clock, which else stands still. It does with the policy what an exchange
does, in the simplest way that is right.
"""

from __future__ import annotations

from collections.abc import Callable

from txrproxy.cache.key import KeyMaker, absolute_url
from txrproxy.cache.policy import (
    REPLACED,
    STALE_ERRORS,
    Answer,
    Decision,
    Rules,
    Verdict,
    after_head,
    answer,
    conditional_lines,
    for_request,
    forwarded,
    hit,
    invalidated_by,
    is_for_all,
    not_modified,
    not_modified_head,
    reuse,
    select,
    storable,
    validated,
)
from txrproxy.cache.stored import Stored
from txrproxy.http.date import http_date_line
from txrproxy.http.fields import Fields
from txrproxy.http.head import (
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
)

START = 1_700_000_000.0


def date(seconds: float = 0) -> bytes:
    """The date so many seconds from the start."""
    return http_date_line(START + seconds)[6:-2]


def request(*lines: bytes, method: bytes = b"GET", target: bytes = b"/a", host: bytes = b"h"):
    start = b"%b %b HTTP/1.1" % (method, target)
    return parse_request_head(b"\r\n".join([start, b"Host: " + host, *lines]))


def response(*lines: bytes, status: int = 200) -> ResponseHead:
    return parse_response_head(b"\r\n".join([b"HTTP/1.1 %d Fine" % status, *lines]))


class Got:
    """What a client got: ``reached`` is the request that the origin saw, None for a hit."""

    def __init__(self, status: int, fields: Fields, body: bytes, cache_status: bytes) -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.cache_status = cache_status
        self.reached: RequestHead | None = None
        self.age: int | None = None
        self.revalidates = False

    def __repr__(self) -> str:
        return f"<Got {self.status} {self.cache_status!r} {self.body!r}>"

    @property
    def is_hit(self) -> bool:
        return self.reached is None and b"; hit" in self.cache_status


class Play:
    def __init__(self, parts=("host", "path", "query"), **rules: object) -> None:
        self.rules = Rules(**rules)  # type: ignore[arg-type]
        self.keys = KeyMaker(parts, b"route")
        self.now = START
        self.kept: dict[bytes, list[tuple[Stored, bytes]]] = {}
        self.decision: Decision | None = None
        self.origin()

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def origin(
        self,
        *lines: bytes,
        status: int = 200,
        body: bytes = b"0123456789",
        delay: float = 0.0,
        dated: bool = True,
    ) -> None:
        """What the origin answers, and after how many seconds; 304 to who has its ETag."""

        def play(asked: RequestHead) -> tuple[ResponseHead, bytes]:
            self.now += delay
            said = [*lines]
            if dated and not any(line.lower().startswith(b"date:") for line in lines):
                said.append(b"Date: " + date(self.now - START))
            head = response(*said, status=status)
            if status == 200 and asked.method in (b"GET", b"HEAD"):
                precise = asked.fields.first(b"if-none-match").split(b", ")
                if b"if-none-match" in asked.fields:
                    same = head.fields.first(b"etag") in precise
                else:
                    since = asked.fields.first(b"if-modified-since")
                    same = since != b"" and since == head.fields.first(b"last-modified")
                if same:
                    return response(*said, status=304), b""
            return head, b"" if asked.method == b"HEAD" else body

        self.play: Callable[[RequestHead], tuple[ResponseHead, bytes] | None] = play

    def fails(self) -> None:
        """The origin is gone."""
        self.play = lambda asked: None

    def ask(
        self,
        *lines: bytes,
        method: bytes = b"GET",
        target: bytes = b"/a",
        host: bytes = b"h",
        scheme: bytes = b"http",
    ) -> Got:
        head = request(*lines, method=method, target=target, host=host)
        demand = for_request(head, self.rules)
        place = scheme, head.authority, head.target.origin
        key, url = self.keys.key(*place, head.fields), absolute_url(*place)
        kept = self.kept.get(key, [])
        selected = select([s for s, _ in kept], head.fields) if demand.lookup else None
        use = None
        fwd = demand.fwd or (b"vary-miss" if kept else b"uri-miss")
        if selected is not None:
            use = reuse(selected, demand, self.now, self.rules)
            if use.verdict is not Verdict.VALIDATE:
                got = self._serve(head, selected, hit(use.ttl))
                got.age = int(use.age)
                got.revalidates = use.verdict is Verdict.STALE_WHILE_REVALIDATE
                return got
            fwd = use.fwd
        if demand.only_if_cached:
            return Got(504, Fields(()), b"", forwarded(fwd))
        candidates = [s for s, _ in kept if s is not selected] if demand.lookup else []
        if selected is not None:
            candidates.insert(0, selected)
        sent = self._conditional(head, selected, candidates)
        return self._forward(head, sent or head, demand, url, key, candidates, fwd, use)

    def _conditional(self, head, selected, candidates):
        others = [c for c in candidates if c is not selected]
        asked = conditional_lines(selected, others)
        if not asked:
            return None
        lines = [line for line in head.fields.lines if line[0] not in REPLACED]
        return RequestHead(
            head.method,
            head.target,
            head.path,
            head.host,
            head.authority,
            Fields([*lines, *asked]),
            head.facts,
            head.size,
        )

    def _forward(self, head, sent, demand, url, key, candidates, fwd, use) -> Got:
        requested = self.now
        result = self.play(sent)
        if result is None or (use is not None and result[0].status in STALE_ERRORS):
            status = 0 if result is None else result[0].status
            if use is not None and self.now < use.until:
                value = forwarded(fwd, status, ttl=use.ttl, detail=b"stale-if-error")
                got = self._serve(head, candidates[0], value)
                got.reached = sent
                return got
            if result is None:
                got = Got(502, Fields(()), b"", forwarded(fwd))
                got.reached = sent
                return got
        came, body = result
        if came.status == 304 and sent is not head:
            renewed = validated(candidates, came, self.rules, requested, self.now)
            if not renewed:
                return self._forward(head, head, demand, url, key, (), fwd, None)
            stored = renewed[0].stored
            bodies = {s.variant: body for s, body in self.kept[key]}
            for one, keep in renewed:
                if is_for_all(sent, demand, came, one.vary, self.rules):
                    self._replace(key, one, keep)
            got = self._serve(head, stored, forwarded(fwd, 304), bodies[stored.variant])
            got.reached = sent
            return got
        for gone in invalidated_by(demand, url, came):
            self._forget(gone)
        if head.method == b"HEAD":
            for stored in candidates:
                renewal = after_head(stored, came, self.rules, requested, self.now)
                if renewal is not None and is_for_all(sent, demand, came, stored.vary, self.rules):
                    self._replace(key, *renewal)
        self.decision = storable(head, demand, came, self.rules, url, self.now)
        if self.decision:
            stored = self.decision.stored(key, url, len(body), requested)
            same = [e for e in self.kept.get(key, []) if e[0].variant != stored.variant]
            self.kept[key] = [*same, (stored, body)]
        value = forwarded(fwd, stored=bool(self.decision))
        asked_by_client = sent is not head and demand.conditional and came.status == 200
        if asked_by_client and not_modified(head.fields, came, self.now):
            came, body = not_modified_head(came), b""
        got = Got(came.status, came.fields, body, value)
        got.reached = sent
        return got

    def _replace(self, key, stored: Stored, keep: bool) -> None:
        entries = self.kept[key]
        at = [s.variant for s, _ in entries].index(stored.variant)
        entries[at] = stored, entries[at][1]
        if not keep:
            del entries[at]

    def _forget(self, url: bytes) -> None:
        for key, entries in self.kept.items():
            self.kept[key] = [e for e in entries if e[0].url != url]

    def _serve(self, head, stored: Stored, cache_status: bytes, body: bytes | None = None) -> Got:
        if body is None:
            [body] = [b for s, b in self.kept[stored.key] if s is stored]
        made: Answer = answer(head, for_request(head, self.rules), stored, b"BOUNDARY")
        content = b"".join(p.head + body[p.start : p.start + p.length] for p in made.parts)
        content += made.tail
        assert len(content) == made.length
        if head.method == b"HEAD":
            content = b""
        return Got(made.head.status, made.head.fields, content, cache_status)
