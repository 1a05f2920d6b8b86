"""Cache keys: what tells one stored response from another.

The primary key is made of the request's address and of what else the configuration names; among
the responses of one key, the fields that Vary names tell variants apart (RFC 9111 sections 2 and
4.1).

What a client can change without changing the key must not change the response, or one client could
choose what others get. So two addresses share a key only where an origin is told the same of both.
Nothing is decoded, sorted or dropped, nor even brought to one case: an origin that does not take
``A.Example`` or ``%2f`` for what they are equivalent to would answer with an error, which all would
get from then on. The port and the scheme always count, because both reach the origin. A key also
holds the name of its route and the parts that it is made of: routes with other backends or other
rules may answer the same address, and a store outlives a configuration. What is invalidated or
purged by its URL is all that is equivalent (:func:`absolute_url`).

Behind a trusted proxy an origin also hears what that says of the request (X-Forwarded-Host,
X-Forwarded-Proto and their like), so that this counts as well; from everyone else those fields are
dropped on the way. What tells of the client alone (X-Forwarded-For and the rest of Forwarded) is in
no key: a backend that answers by it has to say so, with Vary or ``private``.

A key is text in lines. No part of a request can contain a line feed, so that it is unambiguous.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

from txrproxy.http.fields import Fields, is_token, split_members

_MEMO_HOSTS = 1024
_MAX_DERIVED = 16  # memoised with one block of fields

_DEFAULT_PORTS = {b"http": b"80", b"https": b"443"}
_to_upper = re.compile(rb"%[0-9A-Fa-f]{2}").sub


def normal_authority(scheme: bytes, authority: bytes) -> bytes:
    """An authority in lower case, without the default port of the scheme."""
    host, colon, port = authority.lower().rpartition(b":")
    if colon and (not port or port == _DEFAULT_PORTS.get(scheme)):
        return host
    return authority.lower()


def normal_target(target: bytes) -> bytes:
    """A path with its query, its escapes with upper-case digits."""
    if b"%" not in target:
        return target
    return _to_upper(lambda match: match[0].upper(), target)


def absolute_url(scheme: bytes, authority: bytes, target: bytes) -> bytes:
    """The URL of a request as it is kept with a stored response, listed and purged.

    ``target`` is the path with its query, as the client spelled it.
    """
    return b"%b://%b%b" % (scheme, normal_authority(scheme, authority), normal_target(target))


class NotUrl(ValueError):
    """What a person has written is not what it has to be; the text says what that is."""


_url = re.compile(rb"(https?)://([^/?#]+)(/?[^#]*)", re.I).match
_prefix = re.compile(rb"(https?)://([^/?#]*)([^#]*)", re.I).match
_escape = re.compile(rb"[^!-~]").sub
_cut = re.compile(rb"%[0-9A-Fa-f]?\Z").sub


def written_url(text: bytes) -> bytes:
    """A URL that a person has written or copied, as :func:`absolute_url` spells it.

    What no client sends unescaped is escaped. Raises :class:`NotUrl`.
    """
    match = _url(text)
    if match is None:
        raise NotUrl("not a URL: expected http:// or https://, a host and a path")
    return _spelled(*match.groups())


def written_prefix(text: bytes) -> bytes:
    """The same for what URLs begin with, wherever it ends. Raises :class:`NotUrl`."""
    if any(scheme.startswith(text.lower()) for scheme in (b"http://", b"https://")):
        return text.lower()
    match = _prefix(text)
    if match is None:
        raise NotUrl("no URL begins so: expected http:// or https://, and what follows")
    scheme, authority, target = match.groups()
    if not target:
        return b"%b://%b" % (scheme.lower(), authority.lower())  # of which more may come
    return _cut(lambda cut: cut[0].upper(), _spelled(scheme, authority, target))


def _spelled(scheme: bytes, authority: bytes, target: bytes) -> bytes:
    target = _escape(lambda match: b"%%%02X" % ord(match[0]), target)
    return absolute_url(scheme.lower(), authority, target if target[:1] == b"/" else b"/" + target)


class KeyMaker:
    """Makes the keys of one route. ``scope`` is its name.

    ``parts`` are those of the configuration: ``host``, ``path``, ``query``, ``scheme``,
    ``header:NAME`` and ``cookie:NAME``; their order does not matter. The scheme is always in, since
    no response may be used for another URL than its own (RFC 9111 section 4), and backends are told
    it. Raises ValueError for a part that is none.
    """

    __slots__ = ("_bases", "_cookies", "_headers", "_host", "_path", "_prefix", "_query", "_whole")

    def __init__(self, parts: Sequence[str], scope: bytes = b"") -> None:
        named: dict[str, list[bytes]] = {"header": [], "cookie": []}
        for part in parts:
            kind, _, name = part.partition(":")
            if kind in named and is_token(name.encode("utf-8")):
                named[kind].append(name.encode("ascii"))
            elif part not in ("scheme", "host", "path", "query"):
                raise ValueError(f"not a part of a cache key: {part}")
        self._host = "host" in parts
        self._path = "path" in parts
        self._query = "query" in parts
        self._headers = tuple(sorted({name.lower() for name in named["header"]}))
        self._cookies = tuple(sorted(set(named["cookie"])))
        self._whole = self._path and self._query and not self._headers and not self._cookies
        signature = sorted({part for part in parts if part != "scheme"})
        self._prefix = b"%b %b\n" % (scope, ",".join(signature).lower().encode("ascii"))
        self._bases: dict[tuple[bytes, bytes], bytes] = {}

    def key(
        self,
        scheme: bytes,
        authority: bytes,
        target: bytes,
        fields: Fields,
        trusted: bool = False,
    ) -> bytes:
        """The key of a request; GET and HEAD have the same.

        ``authority`` and ``target`` (the path with its query) are as the client wrote them.
        ``trusted`` says that they come from a proxy that is believed.
        """
        base = self._bases.get((scheme, authority)) or self._base(scheme, authority)
        if trusted:
            base = _told(fields) + base
        if self._whole:
            return base + target
        return base + self._rest(target, fields)

    def _base(self, scheme: bytes, authority: bytes) -> bytes:
        # "*" is no host.
        host = authority if self._host else b"*"
        base = b"%b%b://%b" % (self._prefix, scheme, host)
        if len(self._bases) >= _MEMO_HOSTS:
            self._bases.clear()
        self._bases[scheme, authority] = base
        return base

    def _rest(self, target: bytes, fields: Fields) -> bytes:
        path, mark, query = target.partition(b"?")
        lines = [(path if self._path else b"*") + (mark + query if self._query else b"")]
        lines += [normal_field(name, fields.all(name)) or b"-" for name in self._headers]
        if self._cookies:
            lines += _cookies(fields.all(b"cookie"), self._cookies)
        return b"\n".join(lines)


_OF_CLIENT = frozenset({b"x-forwarded-for", b"x-forwarded-client-cert"})


def is_in_every_key(name: bytes) -> bool:
    """Whether keys hold what a trusted proxy says in the field with this lower-case name."""
    return name.startswith(b"x-forwarded-") and name not in _OF_CLIENT


_forwarded = re.compile(rb'(?:^|[;,])[ \t]*((?:host|proto)=(?:"[^"]*"|[^;,]*))', re.I).findall


def _told(fields: Fields) -> bytes:
    """What a proxy says of a request that may change the answer; a line each, none as a rule."""
    names = filter(is_in_every_key, fields.marked)
    lines = [b"%b%b\n" % (name, normal_field(name, fields.all(name))) for name in sorted(names)]
    told = _forwarded(b",".join(fields.all(b"forwarded")))
    if told:
        lines.append(b"forwarded=%b\n" % b";".join(told))
    return b"".join(lines)


def _cookies(values: Sequence[bytes], names: Sequence[bytes]) -> list[bytes]:
    """For each name, every value in order: origins differ in which one they take."""
    found: dict[bytes, list[bytes]] = {name: [] for name in names}
    for value in values:
        for pair in value.split(b";"):
            name, _, content = pair.partition(b"=")
            name = name.strip(b" \t")  # as most who read cookies do
            if name in found:
                found[name].append(b"=" + content)
    return [b";".join(found[name]) or b"-" for name in names]


# Variants.


def variant(vary: Sequence[bytes], fields: Fields) -> bytes:
    """What tells the variant for these request fields from others of its key (section 4.1).

    ``vary`` are lower-case names, sorted. The same bytes for requests whose selecting fields match;
    a digest, since those may be long, and nobody else's business (cookies). Empty without names.
    """
    if not vary:
        return b""
    vary = tuple(vary)
    known: bytes | None = fields.derived.get(vary)
    if known is None:
        text = b"\n".join([b"%b%b" % (name, normal_field(name, fields.all(name))) for name in vary])
        known = blake2b(text, digest_size=20).digest()
        if len(fields.derived) < _MAX_DERIVED:
            fields.derived[vary] = known
    return known


# White space and commas in these are no lists.
_VERBATIM = frozenset(
    {
        b"authorization",
        b"date",
        b"from",
        b"host",
        b"if-modified-since",
        b"if-range",
        b"if-unmodified-since",
        b"origin",
        b"proxy-authorization",
        b"range",
        b"referer",
        b"user-agent",
    }
)
# Lists with weights (RFC 9110 section 12.5), whose members ignore case. Between equal weights some
# origins go by the order of what is wanted, as section 12.5.4 lets them; not so with how it is to
# be sent.
_WEIGHTED = frozenset({b"accept", b"accept-charset", b"accept-encoding", b"accept-language"})
_IN_ANY_ORDER = frozenset({b"accept-charset", b"accept-encoding"})
_weight = re.compile(rb"[ \t]*q[ \t]*=[ \t]*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*", re.I)
_is_weight = re.compile(rb"[ \t]*q[ \t]*(?:=|\Z)", re.I).match


def normal_field(name: bytes, values: Sequence[bytes]) -> bytes:
    """All lines of a request field in one spelling, behind a ``=``; empty without the field."""
    if not values:
        return b""
    if name == b"cookie":
        return b"=" + b"; ".join(values)
    joined = b",".join(values)
    if name in _VERBATIM or joined.count(b'"') % 2:
        return b"=" + b", ".join(values)
    if name in _WEIGHTED and b'"' not in joined:
        weighted = [_weighted(member, name) for member in split_members(joined) if member]
        known = dict.fromkeys(member for member in weighted if member is not None)
        if None not in weighted:
            return b"=" + b",".join(sorted(known) if name in _IN_ANY_ORDER else known)
    return b"=" + b",".join(split_members(joined))


def _weighted(member: bytes, name: bytes) -> bytes | None:
    """A member in one spelling, a weight of 1 left out; None for what is malformed."""
    choice, *parameters = member.split(b";")
    choice = choice.strip(b" \t").lower()
    if not choice:
        return None
    weight = b""
    if parameters and (match := _weight.fullmatch(parameters[-1])):
        digits = match[1].rstrip(b"0").rstrip(b".") if b"." in match[1] else match[1]
        weight = b"" if digits == b"1" else b";q=" + digits
        parameters = parameters[:-1]
    if parameters and (name != b"accept" or any(map(_is_weight, parameters))):
        return None
    return b"".join([choice, *(b";" + parameter.strip(b" \t") for parameter in parameters), weight])
