"""What of a request a policy hashes, compiled from what the configuration says.

A request without the header or cookie is told apart by its client: one common key would send all
such requests to one backend.
"""

from __future__ import annotations

from collections.abc import Callable

from txrproxy.config.values import RequestKey
from txrproxy.http.cookies import cookie_values
from txrproxy.http.head import RequestHead

Key = Callable[[bytes, RequestHead], bytes]


def compile_key(key: RequestKey) -> Key:
    """A function of the client's address and the head, for ``select``."""
    name = key.name.lower().encode()
    cookie = key.name.encode()

    def header(client: bytes, head: RequestHead) -> bytes:
        return b", ".join(head.fields.all(name)) or client

    def first_cookie(client: bytes, head: RequestHead) -> bytes:
        values = cookie_values(head.fields.all(b"cookie"), cookie)
        return (values and values[0]) or client

    return {
        "client_ip": lambda client, head: client,
        "path": lambda client, head: head.path,
        "uri": lambda client, head: head.target.origin,
        "header": header,
        "cookie": first_cookie,
    }[key.kind]
