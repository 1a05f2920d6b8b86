"""How long is the body? The decision of RFC 9112 section 6.3, numbered as there.

Where the RFC leaves a choice, the strict one is taken: whatever two parties could read in two ways
is refused, because a proxy that guesses is how requests are smuggled.
"""

from __future__ import annotations

from txrproxy.errors import (
    BAD_CONTENT_LENGTH,
    BAD_RESPONSE,
    BAD_TRANSFER_ENCODING,
    CODING_UNSUPPORTED,
    LENGTH_AND_ENCODING,
    Reason,
)
from txrproxy.http.fields import Fields

# A body is a length in bytes (>= 0), or one of these.
CHUNKED = -1
UNTIL_CLOSE = -2

MAX_LENGTH_DIGITS = 18  # below 2**63, whatever language reads it next


class BadFraming(Exception):
    """The length of the body is in doubt; ``reason`` says what to answer."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


def content_length(fields: Fields) -> int | None:
    """The one valid Content-Length, or None without the field.

    Repeated fields and lists are refused, equal or not. Raises :class:`BadFraming`.
    """
    values = fields.all(b"content-length")
    if not values:
        return None
    value = values[0]
    # bytes.isdigit knows ASCII digits only, and so neither "+5", "0x5", "5_0" nor "".
    if len(values) > 1 or not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
        raise BadFraming(BAD_CONTENT_LENGTH)
    return int(value)


def request_body(fields: Fields, http_11: bool) -> int:
    """The length of a request's body, or :data:`CHUNKED`. Raises :class:`BadFraming`."""
    length = content_length(fields)
    codings = fields.all(b"transfer-encoding")
    if codings:
        # 3: both fields, or an HTTP/1.0 sender that can not know the coding: refused.
        if length is not None:
            raise BadFraming(LENGTH_AND_ENCODING)
        if not http_11:
            raise BadFraming(BAD_TRANSFER_ENCODING)
        # 4: chunked, once and alone; another coding is one we do not speak.
        if len(codings) > 1:
            raise BadFraming(BAD_TRANSFER_ENCODING)
        coding = codings[0].lower()
        if coding == b"chunked":
            return CHUNKED
        known = (b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress")
        if coding.split(b",")[0].strip(b" \t") in known and coding.endswith(b"chunked"):
            raise BadFraming(CODING_UNSUPPORTED)
        raise BadFraming(BAD_TRANSFER_ENCODING)
    # 5 is in content_length. 6: a length. 7: neither field, so no body.
    return 0 if length is None else length


def response_body(fields: Fields, status: int, http_11: bool, method: bytes) -> int:
    """The length of a response's body, :data:`CHUNKED` or :data:`UNTIL_CLOSE`.

    ``method`` is that of the request it answers. Raises :class:`BadFraming`.
    """
    try:
        length = content_length(fields)
    except BadFraming as error:
        raise BadFraming(BAD_RESPONSE) from error
    codings = fields.all(b"transfer-encoding")
    # 1: no body, whatever the fields say.
    if method == b"HEAD" or status < 200 or status in (204, 304):
        return 0
    # 2 concerns CONNECT, which is never sent to a backend.
    if codings:
        # 3 and 4, as for a request: in doubt, the response is refused.
        chunked = len(codings) == 1 and codings[0].lower() == b"chunked"
        if length is not None or not http_11 or not chunked:
            raise BadFraming(BAD_RESPONSE)
        return CHUNKED
    # 6, 8: without a length the body ends with the connection.
    return UNTIL_CLOSE if length is None else length
