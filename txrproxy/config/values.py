"""The types of single configuration values: durations, sizes, networks, addresses.

TOML knows strings, numbers, booleans, lists and tables; what a configuration means by them is said
here. How each is written is in ``config/forms``.
"""

from __future__ import annotations

import ipaddress
from typing import Literal, NewType

from attrs import frozen

Seconds = NewType("Seconds", float)
Timeout = NewType("Timeout", Seconds)  # more than 0
Size = NewType("Size", int)  # bytes
Share = NewType("Share", float)  # 0 to 1
Natural = NewType("Natural", int)  # 0 or more
Positive = NewType("Positive", int)  # 1 or more
Status = NewType("Status", int)  # of an HTTP response, final
Name = NewType("Name", str)  # of a route, pool, policy ...
Text = NewType("Text", str)  # a string that is not empty
FilePath = NewType("FilePath", str)  # as written; Config.resolve() makes it absolute
Fingerprint = NewType("Fingerprint", str)  # SHA-256, 64 lower-case hexadecimal digits
FieldName = NewType("FieldName", str)
FieldValue = NewType("FieldValue", str)
Method = NewType("Method", str)
HostPattern = NewType("HostPattern", str)  # lower case
PathPattern = NewType("PathPattern", str)
Regex = NewType("Regex", str)  # RE2; its syntax is checked when a file is loaded
HttpUrl = NewType("HttpUrl", str)
RedirectTarget = NewType("RedirectTarget", str)
ResourceName = NewType("ResourceName", str)  # "package.module:object"
UpstreamHost = NewType("UpstreamHost", str)
HostField = NewType("HostField", str)  # a host, perhaps with a port; empty for none given
RequestTarget = NewType("RequestTarget", str)  # a path, perhaps with a query
CacheKeyPart = NewType("CacheKeyPart", str)
CorsOrigin = NewType("CorsOrigin", str)  # lower case
AddressBits = NewType("AddressBits", int)  # of an IPv6 address
Place = NewType("Place", str)  # a country, an autonomous system, or "unknown"
TokenPlace = NewType("TokenPlace", str)  # "bearer" or "cookie:NAME"

Cidr = ipaddress.IPv4Network | ipaddress.IPv6Network
Workers = Literal["auto"] | int
RedirectHttps = bool | int
RuleSelector = int | str  # of WAF rules: an id, a range of ids as text, or a tag
OptionalPath = FilePath | Literal[""]

SecretKind = Literal["file", "env"]
BindKind = Literal["tcp", "unix", "fd"]
BackendScheme = Literal["http", "https", "unix"]
KeyKind = Literal["client_ip", "path", "uri", "header", "cookie", "route"]


@frozen
class Rate:
    """``count`` events in ``seconds``."""

    count: int
    seconds: int

    def __str__(self) -> str:
        unit = {1: "s", 60: "m", 3600: "h"}[self.seconds]
        return f"{self.count}/{unit}"


@frozen(repr=False)
class Secret:
    """Where a secret is found, never the secret: a file, or a variable of the environment."""

    kind: SecretKind
    name: str

    def __repr__(self) -> str:
        return f"Secret({self.kind}:***)"

    __str__ = __repr__


OptionalSecret = Secret | Literal[""]
KeySource = Secret | HttpUrl  # where public keys are found


@frozen
class Bind:
    """An address to listen on. ``host`` is without brackets; ``name`` is the path or fd name."""

    kind: BindKind
    host: str = ""
    port: int = 0
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.kind != "tcp" else _authority(self)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.kind != "tcp":
            return self.kind == "unix"
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


@frozen
class BackendUrl:
    """Where a backend listens. ``host`` is without brackets; ``path`` is a Unix socket's.

    ``port`` is 0 for a name of SRV records, which say it.
    """

    scheme: BackendScheme
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.path}"
        return f"{self.scheme}://{self.host if self.is_service else _authority(self)}"

    @property
    def is_local_name(self) -> bool:
        """Whether it is a name of this machine, whatever its address (RFC 6761 section 6.3)."""
        host = self.host.lower().removesuffix(".")
        return host == "localhost" or host.endswith(".localhost")

    @property
    def is_name(self) -> bool:
        """Whether the host is a name to be looked up."""
        if self.scheme == "unix" or self.is_local_name:
            return False
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False

    @property
    def is_service(self) -> bool:
        """Whether the host is a name of SRV records (RFC 2782)."""
        return self.host.startswith("_")


@frozen
class NameServer:
    """Where a name server answers."""

    host: str
    port: int

    def __str__(self) -> str:
        return _authority(self)


@frozen
class RequestKey:
    """What of a request tells one client, or one hash bucket, from another.

    ``name`` is that of the header or cookie, else empty.
    """

    kind: KeyKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


@frozen
class LimitKey:
    """What of a request a limit counts by: one part, or several together."""

    parts: tuple[RequestKey, ...]

    def __str__(self) -> str:
        return "+".join(map(str, self.parts))


@frozen
class Statuses:
    """A set of status codes, as inclusive ranges."""

    ranges: tuple[tuple[int, int], ...]

    def __contains__(self, status: int) -> bool:
        return any(low <= status <= high for low, high in self.ranges)

    def __str__(self) -> str:
        return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in self.ranges)


def _authority(address: Bind | BackendUrl | NameServer) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"
