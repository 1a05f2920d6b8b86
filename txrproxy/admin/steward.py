"""Whom the admin API asks: what it needs of a proxy, and nothing else.

An answer is a dict that is JSON, at once or as a Deferred. What can not be done raises
:class:`~txrproxy.transport.channel.Refused`, what is not there :class:`Unknown`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from txrproxy.transport.channel import Body


class Unknown(Exception):
    """There is no such thing; ``known`` are the names of those there are."""

    def __init__(self, what: str, known: Iterable[object] = ()) -> None:
        super().__init__(what)
        self.known = sorted(map(str, known))


class Steward(Protocol):
    """Answers for a proxy. A Deferred is allowed wherever the type says Any."""

    def not_ready(self) -> str:
        """Why requests should go elsewhere; empty when they need not."""

    def metrics(self, accept: str) -> Any:
        """The text for Prometheus and its content type. Raises :class:`Unknown` where it is off."""

    def status(self) -> Any:
        """Processes, connections, reloads."""

    def config(self) -> Body:
        """The configuration in force, with defaults, without secrets."""

    def routes(self) -> Body:
        """``routes``, in their order."""

    def pools(self) -> Any:
        """``pools``, with what all processes say of their backends."""

    def set_backend(self, pool: str, backend: str, state: str | None, weight: int | None) -> Any:
        """Change what is not None; answers with the backend."""

    def caches(self) -> Any:
        """``caches``: the figures of each."""

    def entries(self, cache: str, prefix: str, limit: int) -> Any:
        """``entries`` whose URL begins with ``prefix``, at most ``limit``."""

    def purge(self, cache: str, kind: str, value: str, soft: bool, preview: bool) -> Any:
        """Take out what matches, or say how much that would be: ``count`` and ``size``."""

    def reload(self) -> Any:
        """Read the configuration again."""

    def log_level(self) -> Body:
        """``level`` of the error log."""

    def set_log_level(self, level: str) -> Body:
        """Another one, until the proxy ends."""
