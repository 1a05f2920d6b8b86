"""Changing the target on its way to a backend.

Routing decides on the normalised path, backends get the raw one. A rewrite stands between the two,
and keeps the client's spelling (an escaped slash inside a segment, say) wherever it can tell what
it stands for. Where it can not, because the raw path holds dot segments or repeated slashes, or
spells the very piece to be changed with escapes, the normalised path is rewritten instead: a
prefix that was matched is always stripped, however it was written.
"""

from __future__ import annotations

import re
from typing import Any

from txrproxy.http.target import keeps_segments, normalise_path, spell
from txrproxy.routing.match import compile_regex

# One match is found in linear time, so all of them in quadratic: a long path made for it would hold
# up every other exchange.
_MAX_MATCHES = 64

_Replacement = tuple[tuple[bytes, int | None], ...]  # literal text, and the group behind it

# What a replacement can not put into a path: it would end the path, or break an escape.
_to_escape = re.compile(rb"[^!-~]|[?#\\]|%(?![0-9A-Fa-f]{2})").sub


class Rewrite:
    """``strip_prefix``, then ``replace``, then ``prefix``; what is empty does nothing.

    ``strip_prefix`` ends at a segment boundary: ``/app`` is taken off ``/app`` and ``/app/x``, not
    off ``/apple``. ``replace`` is an RE2 pattern and what its matches become (the first 64 of a
    path), with ``\\1`` and ``\\g<name>`` for groups. The query is never touched. Raises
    :class:`ValueError` for a value that can not be compiled.
    """

    __slots__ = ("_pattern", "_prefix", "_replacement", "_strip")

    def __init__(
        self,
        strip_prefix: bytes = b"",
        prefix: bytes = b"",
        replace: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        self._strip = _folder(strip_prefix)
        self._prefix = _folder(prefix)
        pattern, replacement = replace
        self._pattern: Any = compile_regex(pattern) if pattern else None
        self._replacement: _Replacement = ()
        if self._pattern is not None:
            self._replacement = _compile_replacement(self._pattern, replacement)

    @property
    def mount(self) -> bytes:
        """The prefix that is taken off, which the public address has in front; b"" for none."""
        return self._strip

    def __bool__(self) -> bool:
        return bool(self._strip or self._prefix or self._pattern is not None)

    def apply(self, target: bytes) -> bytes:
        """Rewrite a raw origin-form target; ``*`` is left alone.

        The result begins with exactly one slash and is visible ASCII. Raises
        :class:`~txrproxy.http.target.BadTarget` when it would climb above the root.
        """
        path, mark, query = target.partition(b"?")
        if path[:1] != b"/":
            return target
        if self._strip:
            path = self._stripped(path)
        if self._pattern is not None:
            path = self._replaced(path)
        path = self._prefix + path
        if path.startswith(b"//"):  # some would take the first segment for an authority
            path = b"/" + path.lstrip(b"/")
        return path + mark + query

    def _stripped(self, path: bytes) -> bytes:
        strip = self._strip
        normalised = normalise_path(path)
        if not _within(normalised, strip):
            return path
        if not (_within(path, strip) and keeps_segments(path, normalised)):
            path = normalised
        return path[len(strip) :] or b"/"

    def _replaced(self, path: bytes) -> bytes:
        normalised = normalise_path(path)
        if not keeps_segments(path, normalised) or self._pattern.search(path) is None:
            if self._pattern.search(normalised) is None:
                return path
            path = normalised
        path = self._pattern.sub(self._expand, path, _MAX_MATCHES)
        path = _to_escape(lambda match: b"%%%02X" % ord(match[0]), path)
        if path[:1] != b"/":
            path = b"/" + path
        # Pieces put together anew may be dot segments, which no route has been asked about.
        resolved = normalise_path(path)
        return path if spell(path) == resolved else resolved

    def _expand(self, match: Any) -> bytes:
        return b"".join(
            literal if group is None else literal + (match[group] or b"")
            for literal, group in self._replacement
        )


def _folder(text: bytes) -> bytes:
    """A prefix in normalised spelling, without slashes at its end."""
    if text and (not text.startswith(b"/") or b"?" in text or b"#" in text):
        raise ValueError("a prefix is a path: it begins with '/', and has neither '?' nor '#'")
    return normalise_path(text).rstrip(b"/")


def _within(path: bytes, folder: bytes) -> bool:
    return path.startswith(folder) and path[len(folder) : len(folder) + 1] in (b"", b"/")


def _compile_replacement(pattern: Any, text: bytes) -> _Replacement:
    """Take a replacement apart now, so that a bad one is an error of the configuration."""
    if re.search(rb"[?#]", text):
        raise ValueError("a replacement is for the path: it has neither '?' nor '#'")
    pieces: list[tuple[bytes, int | None]] = []
    at = 0
    for match in re.finditer(rb"\\(?:([0-9])|g<([^>]*)>|)", text):
        literal = text[at : match.start()]
        at = match.end()
        reference = match[1] or match[2] or b""
        group = int(reference) if reference.isdigit() else pattern.groupindex.get(reference, -1)
        if not 0 <= group <= pattern.groups:
            raise ValueError(f"the pattern has no group for {match[0].decode(errors='replace')!r}")
        pieces.append((literal, group))
    return (*pieces, (text[at:], None))
