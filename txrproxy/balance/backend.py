"""The state of one server in a pool: what balancing looks at.

``available = has a weight and is not full``. The connections themselves are Twisted's business and
hang on ``connections``, which ``config/build.py`` puts there.
"""

from __future__ import annotations

from typing import Any


class Backend:
    """One server of a pool.

    ``name`` is its address for logs; ``authority`` what Host says when the backend's own is sent.
    ``max_connections`` bounds its connections in use, 0 for no bound; ``in_use`` counts those that
    carry an exchange or are being opened for one.
    """

    __slots__ = (
        "authority",
        "connections",
        "host_line",
        "in_use",
        "max_connections",
        "name",
        "weight",
    )

    def __init__(
        self, name: bytes, authority: bytes, weight: int = 1, max_connections: int = 0
    ) -> None:
        self.name = name
        self.authority = authority
        self.host_line = b"Host: %b\r\n" % authority
        self.weight = weight
        self.max_connections = max_connections
        self.in_use = 0
        self.connections: Any = None

    def __repr__(self) -> str:
        return f"<Backend {self.name.decode('latin-1')} in use {self.in_use}>"

    @property
    def full(self) -> bool:
        """Whether every connection it may have is in use."""
        return 0 < self.max_connections <= self.in_use
