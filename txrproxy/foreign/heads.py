"""Heads of ours as ``twisted.web`` has them, and back; whose request it is, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.web.http_headers import Headers
from twisted.web.server import version

from txrproxy.exchange import Exchange
from txrproxy.http.fields import HOP_BY_HOP, Fields, is_field_value, is_token, make_line
from txrproxy.http.forward import request_head
from txrproxy.http.framing import BadFraming, response_body
from txrproxy.http.head import ResponseHead
from txrproxy.http.target import split_authority

_OWN_FRAMING = HOP_BY_HOP | {b"content-length", b"expect"}


def told(exchange: Exchange) -> Iterator[tuple[bytes, bytes]]:
    """The fields that a backend would be sent, without those of the hop."""
    head, plan, peer = exchange.head, exchange.plan, exchange.downstream.peer
    rules = plan.trusted_rules if peer.trusted else plan.rules
    block = rules.block(head.fields, head.facts, head.authority)
    data = request_head(head.method, b"/", b"", block, peer, exchange.request_id)
    for line in data.split(b"\r\n")[1:-2]:
        name, _, value = line.partition(b": ")
        lower = name.lower()
        if lower not in _OWN_FRAMING and (value or lower != b"host"):
            yield name, value
    for told in exchange.sent:
        yield told[2].partition(b":")[0], told[1]


def response_head(
    method: bytes, status: int, phrase: bytes, headers: Headers
) -> tuple[ResponseHead, int]:
    """The head of a response, and the length of its body. Raises ValueError for a bad one."""
    if not 200 <= status <= 599 or not is_field_value(phrase):
        raise ValueError(f"not a final status: {status} {phrase!r}")
    lines = []
    for name, values in headers.getAllRawHeaders():
        if name == b"Transfer-Encoding":
            continue
        for value in values:
            if value == version and name == b"Server":
                continue  # set for every request; a resource's own stays
            if not is_token(name) or not is_field_value(value):
                raise ValueError(f"not a header field: {name!r}: {value!r}")
            lines.append(make_line(name, value))
    fields = Fields(lines)
    try:
        length = response_body(fields, status, True, method)
    except BadFraming:
        raise ValueError(f"not a length: {fields.all(b'content-length')!r}") from None
    return ResponseHead(status, phrase, True, fields, len(fields.block)), length


def peer_of(exchange: Exchange) -> Any:
    """Whose request it is, as a Twisted address. The port is known of a direct client only."""
    address = exchange.downstream.transport.getPeer()
    if exchange.client is not exchange.downstream.peer.address:
        port = 0
    elif not hasattr(address, "port"):
        return address
    else:
        port = address.port
    client = exchange.client.decode("ascii")
    return (IPv6Address if ":" in client else IPv4Address)("TCP", client, port)


def host_of(exchange: Exchange, secure: bool) -> Any:
    """Our end as the client names it, so that the URLs that a resource makes lead back here."""
    local = exchange.downstream.transport.getHost()
    host = getattr(local, "host", "localhost")
    authority = exchange.head.authority
    if authority:
        port = split_authority(authority)[1] or (443 if secure else 80)
    else:
        port = getattr(local, "port", 0)
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)
