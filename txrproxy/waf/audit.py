"""What is written down of a request that matched rules: one JSON object a line.

Matched values are the client's own words, secrets among them. Values under a name that ``[log]
access.redact`` has are never written, nor are credentials, cookies among them; where a match is of
a whole (a query, a body) in which such a name occurs, the whole is left out. So is what a chain of
rules handed on without a word where it was found.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from io import FileIO
from typing import Any
from urllib.parse import unquote_plus

MASK = "***"

_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})


class Masking:
    """Takes out what must not be written. ``names`` are compared without regard to case;
    ``redact_target`` does the same to a request target."""

    def __init__(
        self, names: Iterable[str], redact_target: Callable[[bytes], bytes] | None = None
    ) -> None:
        self._names = frozenset(name.lower() for name in names)
        self._redact_target = redact_target

    def target(self, target: bytes) -> str:
        """A request target, without the values of the names."""
        if self._redact_target is not None:
            target = self._redact_target(target)
        return target.decode("latin-1")

    def value(self, variable: str, value: str) -> str:
        """A matched value; ``variable`` is ``ARGS:q``, ``REQUEST_BODY`` or the like."""
        collection, _, name = variable.removeprefix("MATCHED_VARS:").partition(":")
        name = name.lower()
        if collection == "REQUEST_COOKIES":
            return MASK
        if collection.endswith("HEADERS") and name in _CREDENTIALS:
            return MASK
        if collection in ("MATCHED_VAR", "MATCHED_VARS"):
            return MASK
        if collection == "TX" and (name.isdigit() or not value.isdigit()):
            return MASK  # captured, or kept: what is left are scores
        names = self._names
        if not names:
            return value
        # Names inside of JSON are written with dots: json.user.password.
        if name in names or not names.isdisjoint(name.split(".")):
            return MASK
        if name and collection != "XML" and "HEADERS" not in collection:
            return value
        plain = unquote_plus(value).lower()
        return MASK if any(one in plain for one in names) else value


def line(
    now: float,
    masking: Masking,
    part: str,
    action: str,
    score: int,
    matches: Sequence[dict[str, Any]],
    exchange: Any,
) -> str:
    """The line for an exchange; ``part`` is the "request" or the "response", ``action`` what was
    done, ``now`` unix time."""
    moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    head = exchange.head
    return json.dumps(
        {
            "time": moment.replace("+00:00", "Z"),
            "request_id": _text(exchange.request_id),
            "client": _text(exchange.client),
            "route": _text(exchange.plan.name),
            "method": _text(head.method),
            "host": _text(head.host),
            "target": masking.target(head.target.origin[:2048]),
            "part": part,
            "action": action,
            "score": score,
            "rules": [
                {**match, "value": masking.value(match["variable"], match["value"])}
                for match in matches
            ],
        }
    )


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")


class AuditFile:
    """A file of lines, opened for appending and readable by its owner only.

    Each line is one ``write``, so that several processes can share the file. There are never more
    than the engines can find. Raises OSError if it can not be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = _open(path)

    def write(self, line: str) -> None:
        try:
            self._file.write(line.encode("ascii") + b"\n")
        except (OSError, ValueError):
            pass  # a full disk is no reason to fail a request, nor is a file that was closed

    def reopen(self) -> None:
        """Open the path again (for logrotate). Raises OSError, and then keeps the old file."""
        fresh = _open(self.path)
        self._file.close()
        self._file = fresh

    def close(self) -> None:
        self._file.close()


def _open(path: str) -> FileIO:
    return FileIO(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY, 0o600), "ab")
