"""How each type of configuration value is written: the one table, :data:`FORMS`.

A row says what a person may write (in the words that errors and the manual use), how it is parsed,
and how it is written back. A parser takes whatever TOML yielded and raises :class:`Unfit` when
that is not the form; the text of the exception adds what the form alone does not say ("host bits
are set").
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from attrs import frozen

from txrproxy.config.values import (
    AddressBits,
    BackendScheme,
    BackendUrl,
    Bind,
    BindKind,
    CacheKeyPart,
    Cidr,
    CorsOrigin,
    FieldName,
    FieldValue,
    FilePath,
    Fingerprint,
    HostField,
    HostPattern,
    HttpUrl,
    KeyKind,
    KeySource,
    LimitKey,
    Method,
    Name,
    NameServer,
    Natural,
    OptionalPath,
    OptionalSecret,
    PathPattern,
    Place,
    Positive,
    Rate,
    RedirectHttps,
    RedirectTarget,
    Regex,
    RequestKey,
    RequestTarget,
    ResourceName,
    RuleSelector,
    Seconds,
    Secret,
    SecretKind,
    Share,
    Size,
    Status,
    Statuses,
    Text,
    Timeout,
    TokenPlace,
    UpstreamHost,
    Workers,
)


class Unfit(ValueError):
    """A value is not of the form its key takes; ``str()`` says why where the form does not."""


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATES = {"s": 1, "m": 60, "h": 3600}
_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

_MOST = 1 << 53
_LONGEST = 3650 * 86400.0
_NUMBER = r"([0-9]{1,12}(?:\.[0-9]{1,6})?)"
_SECONDS = re.compile(rf"{_NUMBER}(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB|TiB)")
_PLACE = re.compile(r"[A-Z]{2}|AS(?:0|[1-9][0-9]{0,9})|unknown")
_SELECTOR = re.compile(r"[0-9]{1,12}-[0-9]{1,12}|[A-Za-z][A-Za-z0-9_./-]{0,100}")
_RATE = re.compile(r"([0-9]{1,9})/(s|m|h)")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_SERVICE = re.compile(r"_[^.]+\._tcp\.[^.]", re.IGNORECASE)
_PATH = re.compile(r"/[!$&'()+,\-./0-9:;=@A-Z_a-z~%*]*")
_TARGET = re.compile(r"/[!$&'()+,\-./0-9:;=@A-Z_a-z~%*?]*")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_RESOURCE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_STATUSES = re.compile(r"[1-5][0-9]{2}(?:-[1-5][0-9]{2})?")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

# What {...} may name in the target of a redirect; Redirect.to says what each stands for.
_PLACEHOLDERS = ("path", "uri", "query", "host", "scheme")


# Parsers: whatever TOML yielded in, a value out, or Unfit.


def text(value: object) -> str:
    """Any string at all."""
    if not isinstance(value, str):
        raise Unfit
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unfit
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unfit
    return value


def _natural(value: object) -> Natural:
    return Natural(_between(value, 0, _MOST))


def _positive(value: object) -> Positive:
    return Positive(_between(value, 1, _MOST))


def _status(value: object) -> Status:
    return Status(_between(value, 200, 599))


def _between(value: object, low: int, high: int) -> int:
    number = _integer(value)
    if not low <= number <= high:
        raise Unfit
    return number


def _share(value: object) -> Share:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Unfit
    return Share(float(value))


def seconds(value: object) -> Seconds:
    """A duration: ``250ms``, ``30s``, ``5m``, ``1h``, ``7d``."""
    found = _SECONDS.fullmatch(text(value))
    if not found:
        raise Unfit
    duration = float(found[1]) * _UNITS[found[2]]
    if duration > _LONGEST:
        raise Unfit("it is longer than ten years")
    return Seconds(duration)


def timeout(value: object) -> Timeout:
    """A duration that is not zero."""
    duration = seconds(value)
    if not duration:
        raise Unfit("zero is no time at all")
    return Timeout(duration)


def write_seconds(value: float) -> str:
    """The shortest familiar spelling; whole minutes only from two on, as people write them."""
    if value % 1:
        return f"{value * 1000:g}ms"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 120)):
        if value and value >= size and value % _UNITS[unit] == 0:
            return f"{value / _UNITS[unit]:g}{unit}"
    return f"{value:g}s"


def size(value: object) -> Size:
    """A size in bytes: ``64KiB``, ``10MiB``, ``1GiB``."""
    found = _SIZE.fullmatch(text(value))
    if not found:
        raise Unfit
    number = int(found[1]) * _SIZES[found[2]]
    if number > _MOST:
        raise Unfit("it is beyond any disk")
    return Size(number)


def write_size(value: int) -> str:
    unit = next(u for u in reversed(_SIZES) if u == "B" or (value and value % _SIZES[u] == 0))
    return f"{value // _SIZES[unit]}{unit}"


def rate(value: object) -> Rate:
    """Events in a time: ``50/s``, ``600/m``, ``1000/h``."""
    found = _RATE.fullmatch(text(value))
    if not found or int(found[1]) == 0:
        raise Unfit
    return Rate(int(found[1]), _RATES[found[2]])


def _secret(value: object) -> Secret:
    kind, colon, name = text(value).partition(":")
    if kind not in {"file", "env"} or not colon or not name or _CONTROL.search(name):
        raise Unfit
    return Secret(cast("SecretKind", kind), name)


def _optional_secret(value: object) -> OptionalSecret:
    return "" if value == "" else _secret(value)


def cidr(value: object) -> Cidr:
    """A network, or one address."""
    written = text(value)
    if "%" in written:
        raise Unfit("a scope is not part of a network")
    try:
        return ipaddress.ip_network(written)
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(written, strict=False)
    except ValueError:
        raise Unfit from None
    raise Unfit(f'host bits are set; the network is "{network}"')


def bind(value: object) -> Bind:
    """``host:port``, ``[v6]:port``, ``unix:PATH`` or ``fd:NAME``."""
    written = text(value)
    kind, _, name = written.partition(":")
    if kind in {"unix", "fd"}:
        if not name or _CONTROL.search(name):
            raise Unfit
        return Bind(cast("BindKind", kind), name=name)
    host, colon, port = written.rpartition(":")
    if not colon:
        raise Unfit("the port is missing")
    if not host:
        raise Unfit('the host is missing; "0.0.0.0" or "[::]" takes every address')
    return Bind("tcp", _host(host), _port(port))


def backend_url(value: object) -> BackendUrl:
    """``http://host[:port]``, ``https://host[:port]`` or ``unix:/path``.

    A host such as ``_http._tcp.app.example`` is looked up as SRV, which says the port.
    """
    written = text(value)
    if written.startswith("unix:"):
        path = written[len("unix:") :]
        if not path.startswith("/") or path.startswith("//") or _CONTROL.search(path):
            raise Unfit("the path of a socket begins with one slash")
        return BackendUrl("unix", path=path)
    url = _split(written)
    if url.scheme not in {"http", "https"}:
        raise Unfit
    if "@" in url.netloc:
        raise Unfit("a user name and password have no place in it")
    if url.path not in {"", "/"} or "?" in written or "#" in written:
        raise Unfit("a path or query has no place in it; a route's rewrite sets a path")
    host, port = _host_and_port(url)
    if host.startswith("_"):
        if not _SERVICE.match(host):
            raise Unfit('a name of SRV records is written "_service._tcp.name"')
        if port:
            raise Unfit("SRV records say the port; a name with one has no underscore in front")
    else:
        port = port or (443 if url.scheme == "https" else 80)
    return BackendUrl(cast("BackendScheme", url.scheme), host, port)


def name_server(value: object) -> NameServer:
    """``address``, ``address:port``, ``v6`` or ``[v6]:port``."""
    written = text(value)
    host, port = written, 53
    if written.startswith("[") or written.count(":") == 1:
        host, port = _host_and_port(SplitResult("", written, "", "", ""))
        port = port or 53
    try:
        return NameServer(str(ipaddress.ip_address(host)), port)
    except ValueError:
        raise Unfit("it is no address") from None


def _split(url: str) -> SplitResult:
    # urlsplit drops control characters and stray spaces: what it would forgive is refused here.
    if _CONTROL.search(url) or re.search(r"\s", url):
        raise Unfit("white space and control characters have no place in it")
    try:
        return urlsplit(url)
    except ValueError:
        raise Unfit from None


def _host_and_port(url: SplitResult) -> tuple[str, int]:
    """Port 0 when none is written."""
    authority = url.netloc.rpartition("@")[2]
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        return _host(authority), 0
    number = _port(port)
    if not number:
        raise Unfit("the port is 1 to 65535")
    return _host(host), number


def _port(digits: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", digits) or int(digits) > 65535:
        raise Unfit("the port is not a number up to 65535")
    return int(digits)


def _host(host: str) -> str:
    """A name, an IPv4 address, or an IPv6 address in brackets, which are taken off."""
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:].removesuffix("]")))
        except ValueError:
            raise Unfit("the IPv6 address is not valid") from None
    if ":" in host:
        raise Unfit("an IPv6 address is written in brackets")
    if not _HOST_NAME.fullmatch(host) or _looks_like_bad_ipv4(host):
        raise Unfit("the host is neither an address nor a name")
    return host


def _looks_like_bad_ipv4(host: str) -> bool:
    # A name whose last label is a number would be read as an address by resolvers.
    if not host.rstrip(".").rpartition(".")[2].isdigit():
        return False
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return True
    return False


def request_key(value: object) -> RequestKey:
    """``client_ip``, ``path``, ``uri``, ``header:NAME`` or ``cookie:NAME``."""
    written = text(value)
    if written in {"client_ip", "path", "uri"}:
        return RequestKey(cast("KeyKind", written))
    kind, _, name = written.partition(":")
    if kind in {"header", "cookie"} and _TOKEN.fullmatch(name):
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


def _address_bits(value: object) -> AddressBits:
    return AddressBits(_between(value, 32, 128))


def _key_source(value: object) -> KeySource:
    if text(value).startswith(("http://", "https://")):
        return _http_url(value)
    return _secret(value)


def _token_place(value: object) -> TokenPlace:
    kind, _, name = text(value).partition(":")
    if value != "bearer" and (kind != "cookie" or not _TOKEN.fullmatch(name)):
        raise Unfit
    return TokenPlace(text(value))


def _cors_origin(value: object) -> CorsOrigin:
    written = text(value).lower()
    if written == "*":
        return CorsOrigin(written)
    scheme, separator, rest = written.partition("://")
    if not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise Unfit
    if not re.fullmatch(r"(\*\.)?([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", rest):
        raise Unfit("an origin is a scheme, a host and a port, nothing more")
    if {"http": ":80", "https": ":443"}.get(scheme, "/") == rest[rest.rfind(":") :]:
        raise Unfit("browsers leave the default port out")
    return CorsOrigin(written)


def _cache_key_part(value: object) -> CacheKeyPart:
    written = text(value)
    kind, _, name = written.partition(":")
    if written not in {"scheme", "host", "path", "query"} and (
        kind not in {"header", "cookie"} or not _TOKEN.fullmatch(name)
    ):
        raise Unfit
    return CacheKeyPart(written)


def statuses(value: object) -> Statuses:
    """``200-399``, ``200`` or a list of those with commas."""
    ranges = []
    for part in text(value).split(","):
        if not _STATUSES.fullmatch(part.strip()):
            raise Unfit
        low, _, high = part.strip().partition("-")
        if int(high or low) < int(low):
            raise Unfit("a range goes from low to high")
        ranges.append((int(low), int(high or low)))
    return Statuses(tuple(ranges))


def _name(value: object) -> Name:
    # Names go into log lines, metric labels and error messages as they are.
    written = text(value)
    if not 0 < len(written) <= 100 or not written.isprintable() or set(written) & set("\"\\{}'"):
        raise Unfit
    return Name(written)


def _full_text(value: object) -> Text:
    if not text(value):
        raise Unfit("the string is empty")
    return Text(text(value))


def _file_path(value: object) -> FilePath:
    written = text(value)
    if not written or "\0" in written:
        raise Unfit
    return FilePath(written)


def _optional_path(value: object) -> OptionalPath:
    return "" if value == "" else _file_path(value)


def _field_name(value: object) -> FieldName:
    if not _TOKEN.fullmatch(text(value)):
        raise Unfit
    return FieldName(text(value))


def _field_value(value: object) -> FieldValue:
    written = text(value)
    if _CONTROL.search(written):
        raise Unfit("it has control characters")
    if written != written.strip(" \t"):
        raise Unfit("it begins or ends with white space")
    return FieldValue(written)


_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


def _method(value: object) -> Method:
    written = text(value)
    if not _TOKEN.fullmatch(written):
        raise Unfit
    if written not in _METHODS and written.upper() in _METHODS:
        raise Unfit(f'methods are case-sensitive; did you mean "{written.upper()}"?')
    return Method(written)


def _host_pattern(value: object) -> HostPattern:
    written = text(value).lower()
    if not written.isascii():
        raise Unfit('an international name is written in its ASCII form ("xn--...")')
    if written.startswith("["):
        return HostPattern(f"[{_host(written)}]")
    if ":" in written:
        raise Unfit("a port has no place in it")
    rest = written.removeprefix("*.")
    if "*" in rest:
        raise Unfit('"*." stands only at the front; without `host` a route takes every host')
    if not _HOST_NAME.fullmatch(rest) or rest.endswith("."):
        raise Unfit
    return HostPattern(written)


def _path_pattern(value: object) -> PathPattern:
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


def _request_target(value: object) -> RequestTarget:
    written = text(value)
    if not written.startswith("/"):
        raise Unfit('it does not begin with "/"')
    if not _TARGET.fullmatch(written) or _PERCENT.search(written):
        raise Unfit("it has characters that a URL holds only percent-encoded")
    return RequestTarget(written)


def _regex(value: object) -> Regex:
    return Regex(_full_text(value))


def _http_url(value: object) -> HttpUrl:
    written = text(value)
    url = _split(written)
    if url.scheme not in {"http", "https"}:
        raise Unfit
    _host_and_port(url)
    return HttpUrl(written)


def _redirect_target(value: object) -> RedirectTarget:
    written = text(value)
    if not written or not written.isascii() or _CONTROL.search(written) or " " in written:
        raise Unfit
    for name in _PLACEHOLDER.findall(written):
        if name not in _PLACEHOLDERS:
            raise Unfit(f"{{{name}}} is unknown; there are {{{'}, {'.join(_PLACEHOLDERS)}}}")
    if set(_PLACEHOLDER.sub("", written)) & {"{", "}"}:
        raise Unfit("a brace is not closed")
    if not written.startswith(("http://", "https://", "{scheme}://", "/", "{uri}")):
        raise Unfit
    return RedirectTarget(written)


def _fingerprint(value: object) -> Fingerprint:
    written = text(value).replace(":", "").lower()
    if not _FINGERPRINT.fullmatch(written):
        raise Unfit
    return Fingerprint(written)


def _pair(value: object) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise Unfit
    return text(value[0]), text(value[1])


def _resource_name(value: object) -> ResourceName:
    if not _RESOURCE.fullmatch(text(value)):
        raise Unfit
    return ResourceName(text(value))


def _upstream_host(value: object) -> UpstreamHost:
    written = text(value)
    if written not in {"preserve", "backend"}:
        _host_and_perhaps_port(written)
    return UpstreamHost(written)


def _host_field(value: object) -> HostField:
    written = text(value)
    if written:
        _host_and_perhaps_port(written)
    return HostField(written)


def _host_and_perhaps_port(written: str) -> None:
    host, colon, port = written.rpartition(":")
    if colon and not written.endswith("]"):
        _host(host)
        _port(port)
    else:
        _host(written)


def _workers(value: object) -> Workers:
    return "auto" if value == "auto" else _between(value, 0, 1024)


def _place(value: object) -> Place:
    written = text(value)
    if not _PLACE.fullmatch(written):
        raise Unfit
    return Place(written)


def _rule_selector(value: object) -> RuleSelector:
    if isinstance(value, int) and not isinstance(value, bool):
        return _between(value, 1, _MOST)
    written = text(value)
    if not _SELECTOR.fullmatch(written):
        raise Unfit
    return written


def _redirect_https(value: object) -> RedirectHttps:
    return value if isinstance(value, bool) else _between(value, 1, 65535)


@frozen
class Form:
    """How one type of value is written.

    ``expected`` ends the sentence "found X, expected ...". ``write`` gives the text between the
    quotes where that is not the value itself. ``quoted``: TOML has it as a string.
    """

    kind: str
    expected: str
    parse: Callable[[object], Any]
    write: Callable[[Any], str] = str
    quoted: bool = True


FORMS: dict[Any, Form] = {
    str: Form("string", "a string", text),
    bool: Form("boolean", "true or false", _boolean, quoted=False),
    int: Form("integer", "an integer", _integer, quoted=False),
    Seconds: Form("duration", 'a duration such as "250ms", "2s", "5m"', seconds, write_seconds),
    Timeout: Form(
        "duration > 0",
        'a duration such as "250ms", "2s", "5m"',
        timeout,
        write_seconds,
    ),
    Size: Form("size", 'a size such as "64KiB", "10MiB", "1GiB"', size, write_size),
    Rate: Form("rate", 'a rate such as "50/s", "600/m"', rate),
    Share: Form("number 0 to 1", "a number from 0 to 1", _share, quoted=False),
    Natural: Form("integer >= 0", "an integer, 0 or more", _natural, quoted=False),
    Positive: Form("integer >= 1", "an integer, 1 or more", _positive, quoted=False),
    Status: Form("status 200-599", "a status from 200 to 599", _status, quoted=False),
    Name: Form(
        "name", "a name of 1 to 100 printable characters without quotes, braces or backslash", _name
    ),
    Text: Form("string", "a string that is not empty", _full_text),
    FilePath: Form("path", "a path", _file_path),
    OptionalPath: Form("path or empty", 'a path, or ""', _optional_path),
    OptionalSecret: Form(
        "secret or empty",
        'a reference such as "file:/run/secrets/token" or "env:TOKEN", or ""',
        _optional_secret,
    ),
    tuple[str, str]: Form(
        "two strings", "a list of two strings: a pattern and its replacement", _pair, quoted=False
    ),
    Fingerprint: Form(
        "SHA-256 fingerprint", "a SHA-256 fingerprint: 64 hexadecimal digits", _fingerprint
    ),
    FieldName: Form("header name", 'a header name such as "x-frame-options"', _field_name),
    FieldValue: Form("header value", "a header value on one line", _field_value),
    Method: Form("method", 'a method such as "GET"', _method),
    HostPattern: Form(
        "host pattern", 'a host such as "example.com" or "*.example.com"', _host_pattern
    ),
    PathPattern: Form(
        "path pattern", 'a path such as "/login", or a prefix such as "/static/*"', _path_pattern
    ),
    Regex: Form("regular expression (RE2)", "a regular expression (RE2)", _regex),
    HttpUrl: Form("URL", "a URL with http:// or https://", _http_url),
    RedirectTarget: Form(
        "URL with placeholders",
        'a URL such as "https://example.com/new/{path}", or a path',
        _redirect_target,
    ),
    ResourceName: Form('"module:object"', 'a name such as "package.module:object"', _resource_name),
    UpstreamHost: Form(
        '"preserve", "backend" or a host', '"preserve", "backend" or a host', _upstream_host
    ),
    HostField: Form("host", 'a host, perhaps with a port, or ""', _host_field),
    RequestTarget: Form("path", 'a path such as "/healthz" or "/up?full=1"', _request_target),
    CacheKeyPart: Form(
        "part of a cache key",
        '"scheme", "host", "path", "query", "header:NAME" or "cookie:NAME"',
        _cache_key_part,
    ),
    Cidr: Form("network", 'a network such as "10.0.0.0/8" or "2001:db8::/32"', cidr),
    Workers: Form(
        '"auto" or integer', '"auto", or an integer from 0 to 1024', _workers, quoted=False
    ),
    RuleSelector: Form(
        "rule id, range or tag",
        'the id of a rule, a range such as "942100-942190", or a tag such as "attack-sqli"',
        _rule_selector,
        quoted=False,
    ),
    RedirectHttps: Form("boolean or port", "true, false or a port", _redirect_https, quoted=False),
    Secret: Form("secret", 'a reference such as "file:/run/secrets/token" or "env:TOKEN"', _secret),
    Bind: Form("address", '"host:port", "[v6]:port", "unix:PATH" or "fd:NAME"', bind),
    BackendUrl: Form(
        "backend URL",
        '"http://host:port", "https://host:port" or "unix:/path"',
        backend_url,
    ),
    NameServer: Form("name server", 'an address such as "10.0.0.2" or "[::1]:53"', name_server),
    RequestKey: Form(
        "key",
        '"client_ip", "path", "uri", "header:NAME" or "cookie:NAME"',
        request_key,
    ),
    LimitKey: Form(
        "key",
        '"client_ip", "route", "path", "uri", "header:NAME", "cookie:NAME", or several with "+"',
        limit_key,
    ),
    AddressBits: Form("integer 32-128", "an integer from 32 to 128", _address_bits, quoted=False),
    KeySource: Form(
        "file or URL",
        'a reference such as "file:jwks.json" or "env:JWKS", or a URL with http:// or https://',
        _key_source,
    ),
    Place: Form(
        "place",
        'a country such as "CH" (ISO 3166), an autonomous system such as "AS64500", or "unknown"',
        _place,
    ),
    TokenPlace: Form('"bearer" or "cookie:NAME"', '"bearer" or "cookie:NAME"', _token_place),
    CorsOrigin: Form(
        "origin",
        'an origin such as "https://app.example" or "https://*.example.com", or "*"',
        _cors_origin,
    ),
    Statuses: Form("statuses", 'statuses such as "200-399" or "200,204"', statuses),
}
