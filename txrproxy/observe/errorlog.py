"""The error log: what the proxy has to say of itself, made of the parts of ``twisted.logger``.

Events are few (a request never makes one), so each is formatted and written where it happens, with
one ``write(2)`` of whole lines to a file opened for appending: several processes can share it, and
a crash loses nothing. twistd redirects ``sys.stdout`` and ``sys.stderr`` into the log, so the log
itself goes to the descriptor.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from zope.interface import implementer

STDERR = 2


def text_line(event: LogEvent) -> str:
    """``TIME LEVEL NAMESPACE: MESSAGE``; further lines, a traceback's too, are indented."""
    lines = [*_message(event).splitlines(), *_traceback(event).splitlines()] or [""]
    lines[0] = f"{_time(event)} {_level(event)} {_namespace(event)}: {lines[0]}"
    return "\n    ".join(map(_printable, lines))


def json_line(event: LogEvent) -> str:
    """An object of ``time`` (RFC 3339, UTC), ``level``, ``namespace``, ``message`` and, where
    there is one, ``traceback``."""
    fields = {
        "time": _time(event),
        "level": _level(event),
        "namespace": _namespace(event),
        "message": _message(event),
    }
    if traceback := _traceback(event):
        fields["traceback"] = traceback
    return json.dumps(fields)


_FORMATS: dict[str, Callable[[LogEvent], str]] = {"text": text_line, "json": json_line}


@implementer(ILogObserver)
class ErrorLog:
    """An observer for ``path`` (``-`` is standard error). Raises OSError if it can not be opened.

    ``level`` is the least severe level that is written, by its name in ``LogLevel``; ``format`` is
    "text" or "json". ``owner`` is the user and group to whom root gives a file that it makes, so
    that they can open it again.
    """

    def __init__(
        self,
        path: str,
        level: str = "info",
        format: str = "text",
        owner: tuple[int, int] | None = None,
    ) -> None:
        self.path = path
        self._fd = STDERR if path == "-" else _open(path, owner)
        self._format = _FORMATS[format]
        self._severe = LogLevelFilterPredicate()
        self.level = level
        severe: Any = self._severe
        write: Any = self._write
        self._filtered = FilteringLogObserver(write, [severe])

    @property
    def level(self) -> str:
        """The least severe level that is written; may be set at any time."""
        return self._level

    @level.setter
    def level(self, name: str) -> None:
        self._severe.setLogLevelForNamespace("", LogLevel.lookupByName(name))
        self._level = name

    @property
    def on_stderr(self) -> bool:
        """Whether a person at the terminal sees it."""
        return self.path == "-"

    def become(self, other: ErrorLog) -> None:
        """Write from now on where and how another one, made for that, would have written."""
        if self._fd != STDERR:
            os.close(self._fd)
        self.path, self._fd, self._format = other.path, other._fd, other._format
        self.level = other.level

    def close(self) -> None:
        """Let go of the file: nothing is to be written."""
        if self._fd != STDERR:
            os.close(self._fd)

    def __call__(self, event: LogEvent) -> None:
        self._filtered(event)

    def reopen(self) -> None:
        """Open the path again (for logrotate). Raises OSError, and then keeps the old file."""
        if self.path != "-":
            fresh = _open(self.path)
            os.close(self._fd)
            self._fd = fresh

    def _write(self, event: LogEvent) -> None:
        data = self._format(event).encode("utf-8", "backslashreplace") + b"\n"
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            pass  # a full disk or a terminal that is gone: there is nowhere left to say so


def _open(path: str, owner: tuple[int, int] | None = None) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY
    if owner is not None:
        try:
            # Never one that was there: a link could make root give away any file.
            made = os.open(path, flags | os.O_EXCL, 0o640)
        except FileExistsError:
            pass
        else:
            os.fchown(made, *owner)
            return made
    return os.open(path, flags, 0o640)


def _time(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event["log_time"], UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(event: LogEvent) -> str:
    return str(event["log_level"].name)


def _namespace(event: LogEvent) -> str:
    """The module that speaks; twistd calls what was printed, or said the old way, by a name."""
    return str(event.get("log_namespace", "-"))


def _message(event: LogEvent) -> str:
    return formatEvent(event).rstrip("\n")


def _traceback(event: LogEvent) -> str:
    failure: Any = event.get("log_failure")
    if failure is None:
        return ""
    try:
        return str(failure.getTraceback()).rstrip("\n")
    except Exception as error:  # the exception's own __str__ may fail
        return f"(no traceback: {type(error).__name__})"


def _printable(line: str) -> str:
    """A line that can not steer a terminal, nor look like two."""
    return "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in line)
