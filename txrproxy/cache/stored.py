"""One stored response: what the policy decides on and what the store keeps.

The body is not here: the store has it, in memory or in a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from txrproxy.http.head import ResponseHead


class Stored:
    """A complete response that may answer other requests. Immutable; see :meth:`replaced`.

    ``key`` is the primary cache key and ``vary`` the lower-case field names that the response was
    selected by, sorted; ``variant`` tells it from the others of its key (empty without Vary).
    ``url`` is the absolute URL it answers, for purging and listing. ``head`` has the fields as they
    are kept, ``length`` is the size of the body in bytes. ``requested`` and ``responded`` are the
    seconds since the epoch at which the request for it went out and its head came in (RFC 9111
    section 4.2.3); the Age that it came with is taken off ``requested``, and is no field of it.
    ``tags`` are its names for purging. ``invalidated`` is a soft purge: it has to be validated
    before it is used.

    ``derived`` belongs to the policy, which works out once what follows from all of this. It is no
    part of the record: a store neither keeps nor copies it. ``hot`` belongs to who
    sends it often, and keeps what it has made of it. ``renewed`` is what a validation made of it.
    """

    __slots__ = (
        "derived",
        "head",
        "hot",
        "invalidated",
        "key",
        "length",
        "renewed",
        "requested",
        "responded",
        "tags",
        "url",
        "variant",
        "vary",
    )

    def __init__(
        self,
        key: bytes,
        url: bytes,
        head: ResponseHead,
        length: int,
        requested: float,
        responded: float,
        *,
        vary: Sequence[bytes] = (),
        variant: bytes = b"",
        tags: Sequence[bytes] = (),
        invalidated: bool = False,
    ) -> None:
        self.key = key
        self.url = url
        self.head = head
        self.length = length
        self.requested = requested
        self.responded = responded
        self.vary = tuple(vary)
        self.variant = variant
        self.tags = tuple(tags)
        self.invalidated = invalidated
        self.derived: Any = None
        self.hot: Any = None
        self.renewed: Stored | None = None

    def __repr__(self) -> str:
        return f"<Stored {self.head.status} {self.url.decode('latin-1')}>"

    def same(self, other: Stored) -> bool:
        """Whether both are about the same body, and none was validated since the other."""
        return (
            self.key == other.key
            and self.variant == other.variant
            and self.vary == other.vary
            and self.length == other.length
            and self.requested == other.requested
            and self.responded == other.responded
            and self.head.fields.block == other.head.fields.block
        )

    def replaced(
        self,
        *,
        head: ResponseHead | None = None,
        requested: float | None = None,
        responded: float | None = None,
        tags: Sequence[bytes] | None = None,
        invalidated: bool = False,
    ) -> Stored:
        """The same body under what a validation, or a purge, made of the rest."""
        return Stored(
            self.key,
            self.url,
            self.head if head is None else head,
            self.length,
            self.requested if requested is None else requested,
            self.responded if responded is None else responded,
            vary=self.vary,
            variant=self.variant,
            tags=self.tags if tags is None else tags,
            invalidated=invalidated,
        )
