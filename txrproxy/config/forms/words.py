"""Forms of names, header fields, paths and patterns, keys, and references to secrets."""

from __future__ import annotations

import re
from typing import cast

from txrproxy.config.forms.addresses import http_url
from txrproxy.config.forms.basics import CONTROL, MOST, TOKEN, Unfit, between, full_text, text
from txrproxy.config.values import (
    CacheKeyPart,
    FieldName,
    FieldValue,
    FilePath,
    Fingerprint,
    KeyKind,
    KeySource,
    LimitKey,
    Method,
    Name,
    OptionalPath,
    OptionalSecret,
    PathPattern,
    Place,
    RedirectTarget,
    Regex,
    RequestKey,
    RequestTarget,
    ResourceName,
    RuleSelector,
    Secret,
    SecretKind,
    TokenPlace,
)

_PLACE = re.compile(r"[A-Z]{2}|AS(?:0|[1-9][0-9]{0,9})|unknown")
_SELECTOR = re.compile(r"([0-9]{1,12})-([0-9]{1,12})|[A-Za-z][A-Za-z0-9_./-]{0,100}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(r"/[!$&'()+,\-./0-9:;=@A-Z_a-z~%*]*")
_TARGET = re.compile(r"/[!$&'()+,\-./0-9:;=@A-Z_a-z~%*?]*")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_RESOURCE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
# What {...} may name in the target of a redirect; Redirect.to says what each stands for.
_PLACEHOLDERS = ("path", "uri", "query", "host", "scheme")
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


def secret(value: object) -> Secret:
    kind, colon, name = text(value).partition(":")
    if kind not in {"file", "env"} or not colon or not name or CONTROL.search(name):
        raise Unfit
    return Secret(cast("SecretKind", kind), name)


def optional_secret(value: object) -> OptionalSecret:
    return "" if value == "" else secret(value)


def request_key(value: object) -> RequestKey:
    """``client_ip``, ``path``, ``uri``, ``header:NAME`` or ``cookie:NAME``."""
    written = text(value)
    if written in {"client_ip", "path", "uri"}:
        return RequestKey(cast("KeyKind", written))
    kind, _, name = written.partition(":")
    if kind in {"header", "cookie"} and TOKEN.fullmatch(name):
        return RequestKey(cast("KeyKind", kind), name)
    raise Unfit


def limit_key(value: object) -> LimitKey:
    """``client_ip``, ``route`` and what :func:`request_key` takes, several joined by ``+``."""
    parts = [
        RequestKey("route") if part == "route" else request_key(part)
        for part in text(value).split("+")
    ]
    if len(set(parts)) < len(parts):
        raise Unfit("a part is there twice")
    return LimitKey(tuple(parts))


def key_source(value: object) -> KeySource:
    if text(value).startswith(("http://", "https://")):
        return http_url(value)
    return secret(value)


def token_place(value: object) -> TokenPlace:
    kind, _, name = text(value).partition(":")
    if value != "bearer" and (kind != "cookie" or not TOKEN.fullmatch(name)):
        raise Unfit
    return TokenPlace(text(value))


def cache_key_part(value: object) -> CacheKeyPart:
    written = text(value)
    kind, _, name = written.partition(":")
    if written not in {"scheme", "host", "path", "query"} and (
        kind not in {"header", "cookie"} or not TOKEN.fullmatch(name)
    ):
        raise Unfit
    return CacheKeyPart(written)


def name(value: object) -> Name:
    # Names go into log lines, metric labels and error messages as they are.
    written = text(value)
    if not 0 < len(written) <= 100 or not written.isprintable() or set(written) & set("\"\\{}'"):
        raise Unfit
    return Name(written)


def file_path(value: object) -> FilePath:
    written = text(value)
    if not written or "\0" in written:
        raise Unfit
    return FilePath(written)


def optional_path(value: object) -> OptionalPath:
    return "" if value == "" else file_path(value)


def field_name(value: object) -> FieldName:
    if not TOKEN.fullmatch(text(value)):
        raise Unfit
    return FieldName(text(value))


def field_value(value: object) -> FieldValue:
    written = text(value)
    if CONTROL.search(written):
        raise Unfit("it has control characters")
    if written != written.strip(" \t"):
        raise Unfit("it begins or ends with white space")
    return FieldValue(written)


def method(value: object) -> Method:
    written = text(value)
    if not TOKEN.fullmatch(written):
        raise Unfit
    if written not in _METHODS and written.upper() in _METHODS:
        raise Unfit(f'methods are case-sensitive; did you mean "{written.upper()}"?')
    return Method(written)


def path_pattern(value: object) -> PathPattern:
    written = text(value)
    if not written.startswith("/"):
        raise Unfit('it does not begin with "/"')
    if "*" in written[:-1]:
        raise Unfit('"*" stands only at the end; path_regex takes more')
    if not _PATH.fullmatch(written) or _PERCENT.search(written):
        raise Unfit("it has characters that a path holds only percent-encoded")
    if {".", ".."} & set(written.split("/")):
        raise Unfit('"." and ".." are resolved before a path is matched')
    return PathPattern(written)


def request_target(value: object) -> RequestTarget:
    written = text(value)
    if not written.startswith("/"):
        raise Unfit('it does not begin with "/"')
    if not _TARGET.fullmatch(written) or _PERCENT.search(written):
        raise Unfit("it has characters that a URL holds only percent-encoded")
    return RequestTarget(written)


def regex(value: object) -> Regex:
    return Regex(full_text(value))


def redirect_target(value: object) -> RedirectTarget:
    written = text(value)
    if not written or not written.isascii() or CONTROL.search(written) or " " in written:
        raise Unfit
    for name in _PLACEHOLDER.findall(written):
        if name not in _PLACEHOLDERS:
            raise Unfit(f"{{{name}}} is unknown; there are {{{'}, {'.join(_PLACEHOLDERS)}}}")
    if set(_PLACEHOLDER.sub("", written)) & {"{", "}"}:
        raise Unfit("a brace is not closed")
    if not written.startswith(("http://", "https://", "{scheme}://", "/", "{uri}")):
        raise Unfit
    return RedirectTarget(written)


def fingerprint(value: object) -> Fingerprint:
    written = text(value).replace(":", "").lower()
    if not _FINGERPRINT.fullmatch(written):
        raise Unfit
    return Fingerprint(written)


def pair(value: object) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise Unfit
    return text(value[0]), text(value[1])


def resource_name(value: object) -> ResourceName:
    if not _RESOURCE.fullmatch(text(value)):
        raise Unfit
    return ResourceName(text(value))


def place(value: object) -> Place:
    written = text(value)
    if not _PLACE.fullmatch(written):
        raise Unfit
    return Place(written)


def rule_selector(value: object) -> RuleSelector:
    if isinstance(value, int) and not isinstance(value, bool):
        return between(value, 1, MOST)
    written = text(value)
    match = _SELECTOR.fullmatch(written)
    if not match:
        raise Unfit
    if match[1] and int(match[1]) > int(match[2]):
        raise Unfit("the range ends before it begins")
    return written
