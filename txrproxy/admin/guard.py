"""Who may ask: the Host, the Origin and the token of a request, before anything else of it is read.

A browser on the operator's machine is the way in for strangers. A page of theirs can make it send
requests to 127.0.0.1, and with a name of theirs that resolves to 127.0.0.1 (DNS rebinding) it can
read the answers. So Host has to be an address, "localhost" or a configured name, none of which a
stranger's page has; and what says that it comes from a page, has to come from one of our own.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection

from attrs import frozen


@frozen
class Denied(Exception):
    """No. ``status`` is 400, 401 or 403."""

    status: int
    why: str


@frozen
class Guard:
    """``token`` empty: none is asked for. ``hosts`` are further names, lower case.

    "*.example.com" takes one label or more. ``any_host`` is for a socket no browser can reach.
    """

    token: bytes = b""
    hosts: Collection[str] = ()
    any_host: bool = False

    def host(self, values: Collection[str]) -> None:
        """Raises :class:`Denied` unless the values of Host are one that may be used."""
        if self.any_host:
            return
        if len(values) != 1:
            raise Denied(400, "exactly one Host field is required")
        (value,) = values
        if not self._knows(host_of(value)):
            allowed = ", ".join(["an IP address", "localhost", *sorted(self.hosts)])
            raise Denied(403, f"this Host is not allowed; allowed: {allowed} (admin.hosts)")

    def _knows(self, host: str) -> bool:
        if host == "localhost" or host in self.hosts:
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            wild = (name[1:] for name in self.hosts if name.startswith("*."))
            return any(host.endswith(end) and host != end for end in wild)
        return True

    @staticmethod
    def origin(origins: Collection[str], sites: Collection[str], host: str) -> None:
        """Raises :class:`Denied` for what a page of another origin sends.

        ``origins`` are the values of Origin, ``sites`` those of Sec-Fetch-Site.
        """
        own = {f"http://{host}".lower(), f"https://{host}".lower()}
        if any(origin.lower() not in own for origin in origins):
            raise Denied(403, "requests from pages of another origin are not allowed")
        if any(site not in {"same-origin", "none"} for site in sites):
            raise Denied(403, "requests from pages of another site are not allowed")

    def bearer(self, values: Collection[bytes]) -> None:
        """Raises :class:`Denied` unless Authorization has the token, compared in constant time."""
        if not self.token:
            return
        if len(values) != 1:
            raise Denied(401, "send Authorization: Bearer TOKEN")
        (value,) = values
        scheme, _, token = value.partition(b" ")
        right = hmac.compare_digest(token.strip(b" "), self.token)
        if scheme.lower() != b"bearer" or not right:
            raise Denied(401, "send Authorization: Bearer TOKEN")


def host_of(value: str) -> str:
    """The host of a Host field, lower case, without brackets, port and final dot."""
    if value.startswith("["):
        host, bracket, rest = value[1:].partition("]")
        return host.lower() if bracket and (not rest or _is_port(rest)) else ""
    host, colon, port = value.partition(":")
    if colon and not _is_port(colon + port):
        return ""
    return host.lower().removesuffix(".")


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isascii() and (text[1:].isdigit() or text == ":")
