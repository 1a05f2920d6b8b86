"""What the proxy says when it answers with an error itself: a page for people, JSON for programs.

The choice follows ``Accept`` (RFC 9110 section 12.5.1). HTML goes to who names it, with a ``q`` no
lower than JSON's: browsers do when they open a page. Everybody else gets JSON, which a person reads
in a terminal as well: ``*/*`` (curl, fetch, most libraries), no ``Accept`` at all, or one that no
form satisfies. ``application/problem+json`` (RFC 9457) is sent to who prefers it.

All that enters a page is escaped, and nothing but the four arguments enters it.
"""

from __future__ import annotations

import html
import json
import re

from txrproxy.http.status import PHRASES

_HTML = b"text/html"
_JSON = b"application/json"
_PROBLEM = b"application/problem+json"
_MAX_RANGES = 32  # media ranges that are looked at; browsers send fewer than ten

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto 2rem; \
padding: 0 1.5rem; color: #1b1f24; background: #fff }}
h1 {{ font-size: 1.5rem; line-height: 1.25 }}
footer {{ margin-top: 2.5rem; font-size: .875rem; color: #57606a }}
code {{ overflow-wrap: anywhere }}
@media (prefers-color-scheme: dark) {{
body {{ color: #e6edf3; background: #0d1117 }}
footer {{ color: #9aa4ae }}
}}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{text}</p>
</main>
<footer>Request <code>{request_id}</code></footer>
</body>
</html>
"""

# One range: type, parameters, weight (RFC 9110 section 12.4.2: three decimals at the most).
_weight = re.compile(rb"[ \t]*q[ \t]*=[ \t]*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*", re.I)


def page(
    status: int, text: str, request_id: bytes, accept: bytes | None = None
) -> tuple[bytes, bytes]:
    """The content type and the body for an error.

    ``text`` says in plain words what happened (``Reason.text``); ``accept`` is the request's field
    value, its lines joined by commas.
    """
    phrase = PHRASES.get(status, b"Error").decode("ascii")
    identifier = request_id.decode("latin-1")
    form = _choose(accept) if accept is not None else _JSON
    if form is _HTML:
        body = _PAGE.format(
            title=html.escape(f"{status} {phrase}"),
            text=html.escape(text),
            request_id=html.escape(identifier),
        )
        return b"text/html; charset=utf-8", body.encode("utf-8", "replace")
    if form is _PROBLEM:
        content = {"type": "about:blank", "title": phrase, "status": status, "detail": text}
    else:
        content = {"status": status, "error": phrase, "message": text}
    content["request_id"] = identifier
    return form, json.dumps(content).encode("ascii") + b"\n"


def _choose(accept: bytes) -> bytes:
    weights = _weights(accept)
    best, chosen = 0.0, _JSON
    for form in (_HTML, _JSON, _PROBLEM):  # on a tie, the first
        family = form.partition(b"/")[0] + b"/*"
        named = weights.get(form, weights.get(family))
        # A bare */* asks for nothing in particular: it counts for plain JSON alone.
        if named is None:
            named = weights.get(b"*/*", 0.0) if form is _JSON else 0.0
        if named > best:
            best, chosen = named, form
    return chosen


def _weights(accept: bytes) -> dict[bytes, float]:
    """Weight by media range, in lower case; malformed ranges are left out."""
    weights: dict[bytes, float] = {}
    for item in accept.split(b",", _MAX_RANGES)[:_MAX_RANGES]:
        name, *parameters = item.split(b";")
        weight = 1.0
        for parameter in parameters:
            if parameter.strip(b" \t")[:1] in (b"q", b"Q"):
                found = _weight.fullmatch(parameter)
                weight = float(found[1]) if found else -1.0
        if weight >= 0:
            weights[name.strip(b" \t").lower()] = weight
    return weights
