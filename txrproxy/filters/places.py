"""Whether requests from a place are welcome: a country, a network operator, or nobody knows where.

A place is written as databases have it: ``CH`` for a country (ISO 3166-1), ``AS64500`` for an
autonomous system. An address of which no database knows anything comes from :data:`UNKNOWN`.
"""

from __future__ import annotations

from collections.abc import Collection

UNKNOWN = "unknown"


def welcome(found: Collection[str], allow: Collection[str], deny: Collection[str]) -> bool:
    """Whether nothing of ``found`` is in ``deny``, and something in ``allow``, if there is one."""
    found = found or (UNKNOWN,)
    if any(place in deny for place in found):
        return False
    return not allow or any(place in allow for place in found)
