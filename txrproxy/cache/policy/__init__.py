"""The decisions of a cache (RFC 9111 and what extends it), as functions that return a value.

An exchange calls them in this order, and does what they say::

    demand = for_request(head, rules)                 may the cache be asked?
    stored = select(candidates, head.fields)          which variant is it?
    use    = reuse(stored, demand, now, rules)        may it be used?
      FRESH, STALE                                    answer(…) with hit_lines(…)
      STALE_WHILE_REVALIDATE                          the same, and a validation beside it
      VALIDATE                                        ask, with conditional_lines(…)
        304                                           validated(…): keep it if that is_for_all(…),
                                                      then answer(…)
        an error, and now < use.until                 answer(…): stale, but there
        anything else                                 as a miss
      no stored                                       send it on; then
    decision = storable(head, demand, response, …)    may it be kept?
    decision.stored(key, url, length, requested)      when the body has arrived whole
    invalidated_by(demand, url, response)             what it makes useless
      206 to a client's Range                         storable_part(…), then joined(old, new)
      a Range, and a part is stored                   reuse(whole(part), …), then part_answer(…)

No function here knows the time; all times are arguments, in seconds since the epoch.
"""

from txrproxy.cache.policy.answer import Answer, answer, not_modified, not_modified_head
from txrproxy.cache.policy.demand import PLAIN, Demand, for_request, satisfied
from txrproxy.cache.policy.freshness import STALE_ERRORS, Reuse, Verdict, reuse
from txrproxy.cache.policy.invalidation import invalidated_by
from txrproxy.cache.policy.partial import joined, part_answer, part_key, storable_part, whole
from txrproxy.cache.policy.ranges import Part
from txrproxy.cache.policy.rules import Rules
from txrproxy.cache.policy.status import forwarded, hit, hit_lines, unanswered
from txrproxy.cache.policy.storing import CONSUMED, Decision, is_for_all, storable
from txrproxy.cache.policy.validation import (
    REPLACED,
    Refreshed,
    after_head,
    conditional_lines,
    select,
    validated,
)

__all__ = [
    "CONSUMED",
    "PLAIN",
    "REPLACED",
    "STALE_ERRORS",
    "Answer",
    "Decision",
    "Demand",
    "Part",
    "Refreshed",
    "Reuse",
    "Rules",
    "Verdict",
    "after_head",
    "answer",
    "conditional_lines",
    "for_request",
    "forwarded",
    "hit",
    "hit_lines",
    "invalidated_by",
    "is_for_all",
    "joined",
    "not_modified",
    "not_modified_head",
    "part_answer",
    "part_key",
    "reuse",
    "satisfied",
    "select",
    "storable",
    "storable_part",
    "unanswered",
    "validated",
    "whole",
]
