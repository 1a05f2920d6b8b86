"""Where a redirect leads: templates for the Location field.

Placeholders:

``{path}``
    What ``*`` matched in the route's prefix; empty for an exact path.
``{uri}``
    The whole path as the client wrote it, with its query.
``{query}``
    The query without ``?``.
``{host}``
    The host asked for, without port.
``{scheme}``
    ``http`` or ``https``.

The request's query is appended, unless the template speaks of it (``{query}`` anywhere, ``{uri}``
inside the template's own query) or ends in a bare ``?``, which is dropped.

What a placeholder brings stays in the part of the URL where it stands. The authority takes only
``{scheme}`` and ``{host}``; the path begins with exactly one slash, so that neither ``//evil`` nor
``.evil`` in a request can name another host; in the template's query and fragment a value is
escaped whole, so that ``?next={uri}`` is one parameter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

PLACEHOLDERS: Final = ("path", "uri", "query", "host", "scheme")

_Piece = tuple[bytes, str]  # literal text, and the placeholder behind it or ""

_split = re.compile(
    r"(?:(?P<scheme>\{scheme\}|[A-Za-z][A-Za-z0-9+.-]*):)?//(?P<authority>(?:\{host\}|[^/?#{}])+)"
    r"|(?=/|\{(?:uri|path)\})"
).match
_is_host = re.compile(rb"[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\]").fullmatch
_is_scheme = re.compile(rb"https?").fullmatch

_in_path = re.compile(rb'[^!-~]|["<>\\?#]').sub
_in_query = re.compile(rb'[^!-~]|["<>\\#]').sub
_in_value = re.compile(rb"[^A-Za-z0-9._~/:-]").sub


def _escape(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(match[0])


class Template:
    """A compiled template; make one with :meth:`compile`."""

    __slots__ = (
        "_appends",
        "_asks_scheme",
        "_authority",
        "_fragment",
        "_path",
        "_query",
        "_scheme",
        "asks_host",
    )

    def __init__(self, text: str) -> None:
        if re.search(r"[\x00-\x20\x7f]", text):
            raise ValueError("a URL has no spaces or control characters")
        _pieces(text)  # complains of unknown placeholders before anything else
        match = _split(text)
        if match is None:
            raise ValueError(
                "neither a URL with a host nor a path that begins with '/'; a host takes no "
                "placeholder but {host}, and a scheme none but {scheme}"
            )
        rest = text[match.end() :]
        path, hash_mark, fragment = rest.partition("#")
        path, mark, query = path.partition("?")
        if path and not re.match(r"/|\{(?:uri|path)\}", path):
            raise ValueError("only {uri}, {path} or '/' may follow the host")
        scheme, authority = match["scheme"], match["authority"]
        self._scheme = _pieces(scheme + ":") if scheme else ()
        self._authority = _pieces(authority) if authority else ()
        if authority and not authority.isascii():
            raise ValueError("write the host in its ASCII form (xn--...)")
        self._path = _pieces(path) if path else ()
        self._query = _pieces(query)
        self._fragment = _pieces(hash_mark + fragment)
        named = {name for _, name in self._scheme + self._authority}
        self.asks_host, self._asks_scheme = "host" in named, "scheme" in named
        bare = bool(mark) and not query
        in_arguments = {name for _, name in self._query + self._fragment}
        in_path = {name for _, name in self._path}
        self._appends = not (bare or "query" in in_path or in_arguments & {"query", "uri"})

    @classmethod
    def compile(cls, text: str) -> Template:
        """Compile, or raise :class:`ValueError` that says what is wrong."""
        return cls(text)

    def expand(
        self, *, scheme: bytes, host: bytes, path: bytes, raw_path: bytes, query: bytes | None
    ) -> bytes:
        """The Location for one request.

        ``path`` is what the route's wildcard matched, ``raw_path`` the client's own path, ``query``
        without ``?`` or ``None``. Without a valid host or scheme to put in, the Location is a path
        on the same host.
        """
        uri = raw_path if query is None else b"%b?%b" % (raw_path, query)
        values = {"path": path, "uri": uri, "query": query or b"", "host": host, "scheme": scheme}
        location = b""
        usable = (not self.asks_host or _is_host(host)) and (
            not self._asks_scheme or _is_scheme(scheme)
        )
        if self._authority and usable:
            location = b"%b//%b" % (_join(self._scheme, values), _join(self._authority, values))
        arguments = _join_escaped(self._query, values).strip(b"&")
        fragment = _join_escaped(self._fragment, values)
        if self._appends and query:
            arguments += (b"&" if arguments else b"") + _in_query(_escape, query)
        values["uri"] = raw_path  # in a path it leaves its query to the query
        place = b"".join(
            literal + _in_path(_escape, values[name]) if name else literal
            for literal, name in self._path
        )
        if self._path or not location:
            location += b"/" + place.lstrip(b"/")
        if arguments:
            location += b"?" + arguments
        return location + fragment


def _pieces(text: str) -> tuple[_Piece, ...]:
    pieces = []
    at = 0
    for match in re.finditer(r"\{([^{}]*)\}|[{}]", text):
        name = match[1]
        if name is None:
            raise ValueError("a brace without its partner")
        if name not in PLACEHOLDERS:
            near = get_close_matches(name, PLACEHOLDERS, 1)
            hint = f"did you mean {{{near[0]}}}?" if near else f"known: {', '.join(PLACEHOLDERS)}"
            raise ValueError(f"unknown placeholder {{{name}}}; {hint}")
        pieces.append((_literal(text[at : match.start()]), name))
        at = match.end()
    pieces.append((_literal(text[at:]), ""))
    return tuple(pieces)


def _literal(text: str) -> bytes:
    return re.sub(rb'[^!-~]|["<>\\]', _escape, text.encode())


def _join(pieces: tuple[_Piece, ...], values: Mapping[str, bytes]) -> bytes:
    return b"".join(literal + values[name] if name else literal for literal, name in pieces)


def _join_escaped(pieces: tuple[_Piece, ...], values: Mapping[str, bytes]) -> bytes:
    """A query or fragment: a value is escaped whole, but ``{query}`` on its own is a query."""
    text = b""
    for literal, name in pieces:
        text += literal
        if name == "query" and not text.endswith(b"="):
            text += _in_query(_escape, values[name])
        elif name:
            text += _in_value(_escape, values[name])
    return text
