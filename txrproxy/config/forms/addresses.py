"""Forms of hosts, networks, sockets and URLs."""

from __future__ import annotations

import ipaddress
import re
from typing import cast
from urllib.parse import SplitResult, urlsplit

from txrproxy.config.forms.basics import CONTROL, Unfit, text
from txrproxy.config.values import (
    BackendScheme,
    BackendUrl,
    Bind,
    BindKind,
    Cidr,
    CorsOrigin,
    HostField,
    HostPattern,
    HttpUrl,
    NameServer,
    UpstreamHost,
)

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_SERVICE = re.compile(r"_[^.]+\._tcp\.[^.]", re.IGNORECASE)


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
        if not name or CONTROL.search(name):
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
        if not path.startswith("/") or path.startswith("//") or CONTROL.search(path):
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
    if CONTROL.search(url) or re.search(r"\s", url):
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


def cors_origin(value: object) -> CorsOrigin:
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


def host_pattern(value: object) -> HostPattern:
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


def http_url(value: object) -> HttpUrl:
    written = text(value)
    url = _split(written)
    if url.scheme not in {"http", "https"}:
        raise Unfit
    _host_and_port(url)
    return HttpUrl(written)


def upstream_host(value: object) -> UpstreamHost:
    written = text(value)
    if written not in {"preserve", "backend"}:
        _host_and_perhaps_port(written)
    return UpstreamHost(written)


def host_field(value: object) -> HostField:
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
