"""The Cookie field of a request (RFC 6265 section 4.2): what one name holds.

Nothing is decoded: a value is bytes that whoever set the cookie chose. What a client may send is
bounded by the size of a head, and how much of it is looked at by :data:`MAX_PAIRS`.
"""

from __future__ import annotations

from collections.abc import Iterable

MAX_PAIRS = 256  # in one field line; browsers keep fewer for one site


def cookie_values(lines: Iterable[bytes], name: bytes) -> list[bytes]:
    """The values of the cookie with this name, in order, from the values of the Cookie fields.

    Names are compared by case. There may be several: one for each path or domain it was set for.
    """
    found = []
    for line in lines:
        if name in line:
            for pair in line.split(b";", MAX_PAIRS)[:MAX_PAIRS]:
                key, equals, value = pair.partition(b"=")
                if equals and key.strip(b" \t") == name:
                    found.append(value.strip(b" \t"))
    return found
