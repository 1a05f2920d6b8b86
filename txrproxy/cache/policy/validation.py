"""Validation (RFC 9111 section 4.3): asking a backend whether stored responses still hold, and what
its answer makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from txrproxy.cache.key import variant
from txrproxy.cache.policy.directives import response_directives
from txrproxy.cache.policy.freshness import first_date, received_age
from txrproxy.cache.policy.rules import Rules
from txrproxy.cache.policy.storing import kept_lines, tags, vary_names, with_lines
from txrproxy.cache.policy.validators import (
    entity_tag,
    is_strong,
    last_modified,
    opaque,
)
from txrproxy.cache.stored import Stored
from txrproxy.http.fields import Fields, Line, make_line
from txrproxy.http.head import ResponseHead

# What a validation says in the place of the client: its own preconditions are for what we have, and
# a part of something new would be of no use.
REPLACED = frozenset({b"if-none-match", b"if-modified-since", b"if-range", b"range"})

# Section 3.2: the length and the coding are those of the stored body, whatever a later head says;
# Vary is what the stored response was selected by.
_NOT_UPDATED = frozenset({b"content-length", b"content-encoding", b"content-range", b"vary"})

_MAX_TAGS = 16  # asked about at once


def select(candidates: Sequence[Stored], fields: Fields) -> Stored | None:
    """The stored response of one key that a request selects (section 4.1): the most recent.

    One without Vary counts only if none that has it is newer.
    """
    found = [stored for stored in candidates if stored.variant == variant(stored.vary, fields)]
    if len(found) < 2 and (len(found) == len(candidates) or not found or found[0].vary):
        return found[0] if found else None
    best = max(found, key=_recency)
    if best.vary or not any(_recency(s) > _recency(best) for s in candidates if s.vary):
        return best
    return max([stored for stored in found if stored.vary], key=_recency, default=None)


def _recency(stored: Stored) -> tuple[float, float]:
    date = first_date(stored.head.fields, b"date", stored.responded)
    return (stored.responded if date is None else date, stored.responded)


def conditional_lines(selected: Stored | None, others: Iterable[Stored] = ()) -> list[Line]:
    """The preconditions to ask with, in place of :data:`REPLACED`; none: nothing can be validated.

    ``selected`` is what the request selects; ``others`` are variants of its key, which only their
    entity tags can name.
    """
    lines: list[Line] = []
    asked = [stored for stored in (selected, *others) if stored and stored.head.status == 200]
    known = list(dict.fromkeys(tag for stored in asked if (tag := entity_tag(stored.head.fields))))
    if known:
        lines.append(make_line(b"If-None-Match", b", ".join(known[:_MAX_TAGS])))
    # A date says nothing of which variant is meant: it goes with the tag of the selected one alone.
    if selected in asked and selected is not None:
        fields = selected.head.fields
        alone = known == [entity_tag(fields)] or not known
        if alone and last_modified(fields, selected.responded) is not None:
            lines.append(make_line(b"If-Modified-Since", fields.first(b"last-modified")))
    return lines


class Refreshed(NamedTuple):
    """A stored response under a newer head. ``keep`` is whether it may stay stored."""

    stored: Stored
    keep: bool


def validated(
    candidates: Sequence[Stored],
    response: ResponseHead,
    rules: Rules,
    requested: float,
    responded: float,
) -> list[Refreshed]:
    """What a 304 makes of the stored responses that were asked about (section 4.3.4).

    The first is to be served. An empty list: the 304 speaks of none of them, and the request has to
    be sent again without preconditions (or the 304 passed on, if they were the client's own).
    ``candidates`` are what :func:`conditional_lines` got, with the selected one first.
    """
    fields = response.fields
    tag = entity_tag(fields)
    modified = last_modified(fields, responded)
    if is_strong(tag):
        found = [c for c in candidates if entity_tag(c.head.fields) == tag]
    elif tag:
        found = _newest(c for c in candidates if opaque(entity_tag(c.head.fields)) == opaque(tag))
    elif modified is not None:
        found = _newest(
            c for c in candidates if last_modified(c.head.fields, responded) == modified
        )
    else:
        # A backend that leaves the validator out can only mean the one that it was asked about.
        found = list(candidates) if len(candidates) == 1 else []
    return [
        refreshed(stored, response, rules, requested, responded)
        for stored in found
        if stored.head.status == 200
    ]


def _newest(found: Iterable[Stored]) -> list[Stored]:
    return sorted(found, key=_recency, reverse=True)[:1]


def refreshed(
    stored: Stored,
    response: ResponseHead,
    rules: Rules,
    requested: float,
    responded: float,
    invalidated: bool = False,
) -> Refreshed:
    """A stored response with the fields of a newer one in place of its own (section 3.2).

    It may not stay if the newer head forbids that, or makes selection depend on more fields.
    """
    directives = response_directives(response.fields, rules.targeted)
    dropped = _NOT_UPDATED
    if not (directives.public or directives.s_maxage or directives.targeted):
        # A session that goes on, as a rule, of who happened to ask.
        dropped |= {b"set-cookie"}
    update = [
        line
        for line in kept_lines(response, directives.withheld, responded)
        if line[0] not in dropped
    ]
    names = {line[0] for line in update} | directives.withheld
    old = stored.head
    lines = [line for line in old.fields.lines if line[0] not in names]
    head = with_lines(old, [*update, *lines])
    vary = vary_names(response.fields)
    keep = vary is not None and set(vary) <= set(stored.vary)
    now_said = response_directives(head.fields, rules.targeted)
    return Refreshed(
        stored.replaced(
            head=head,
            requested=requested - received_age(response.fields),
            responded=responded,
            tags=tags(head.fields),
            invalidated=invalidated,
        ),
        keep and not now_said.private and (now_said.must_understand or not now_said.no_store),
    )


def after_head(
    stored: Stored,
    response: ResponseHead,
    rules: Rules,
    requested: float,
    responded: float,
) -> Refreshed | None:
    """What the 200 that a HEAD was answered with makes of a stored response (section 4.3.5).

    It is updated if nothing speaks against its being the same, else only to be used after it was
    validated. None for an answer that says nothing of it.
    """
    if response.status != 200 or stored.head.status != 200:
        return None
    fields, old = response.fields, stored.head.fields
    same = all(
        fields.all(name) == old.all(name) for name in (b"etag", b"last-modified") if name in fields
    )
    length = fields.all(b"content-length")
    if same and (not length or length == (b"%d" % stored.length,)):
        return refreshed(stored, response, rules, requested, responded, stored.invalidated)
    return Refreshed(stored.replaced(invalidated=True), True)
