"""What a request that may change something makes of stored responses (RFC 9111 section 4.4)."""

from __future__ import annotations

import re
from urllib.parse import urljoin

from txrproxy.cache.key import absolute_url
from txrproxy.cache.policy.demand import Demand
from txrproxy.http.head import ResponseHead

_absolute = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)").match


def invalidated_by(demand: Demand, url: bytes, response: ResponseHead) -> tuple[bytes, ...]:
    """The URLs of which no stored response may be used any more without validation.

    ``url`` is the request's (:func:`~txrproxy.cache.key.absolute_url`). All keys of a URL are
    meant, so that it also holds where the request took another route than those that stored.
    """
    if not demand.invalidates or not 200 <= response.status < 400:
        return ()
    urls = [url]
    for name in (b"location", b"content-location"):
        for reference in response.fields.all(name)[:1]:
            other = resolved(url, reference)
            if other is not None and other not in urls:
                urls.append(other)
    return tuple(urls)


def resolved(base: bytes, reference: bytes) -> bytes | None:
    """The normalised absolute URL of a reference; None for one of another origin, or malformed."""
    try:
        url = urljoin(base.decode("latin-1"), reference.decode("latin-1")).encode("latin-1")
    except ValueError:
        return None
    match = _absolute(url)
    if match is None:
        return None
    scheme, authority, target = match.groups()
    if not target.startswith(b"/"):
        target = b"/" + target
    found = absolute_url(scheme.lower(), authority, target)
    return found if _origin(found) == _origin(base) else None


def _origin(url: bytes) -> list[bytes]:
    return url.split(b"/", 3)[:3]
