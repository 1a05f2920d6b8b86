"""HTTP Basic authentication (RFC 7617): what a request says, and what it is asked for."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from txrproxy.http.fields import Line, is_field_value, make_line

LONGEST = 4096  # bytes of a field value that is looked at


def credentials(values: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """User name and password of the Authorization lines; None where they do not hold just that.

    Control characters have no place in either (RFC 7617 section 2). Each pair has one spelling
    (RFC 4648 section 3.5): what decoders differ about, another could read as somebody else.
    """
    if len(values) != 1 or len(values[0]) > LONGEST:
        return None
    scheme, _, token = values[0].partition(b" ")
    if scheme.lower() != b"basic":
        return None
    token = token.strip(b" ")
    try:
        pair = base64.b64decode(token, validate=True)
    except binascii.Error:
        return None
    if base64.b64encode(pair) != token:
        return None
    name, colon, password = pair.partition(b":")
    if not colon or not name or not is_field_value(pair) or b"\t" in pair:
        return None
    return name, password


def challenge(realm: str) -> Line:
    """The field that asks for a user name and a password."""
    quoted = realm.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return make_line(b"WWW-Authenticate", b'Basic realm="%b", charset="UTF-8"' % quoted)
