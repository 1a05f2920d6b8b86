"""Which listener a request meets: the first whose scheme and port are those of its URL.

A proxy often stands behind ports that are not its own (a container's, a balancer's). Where no
listener has the port, the scheme decides, and where none has that, the first listener serves.
"""

from __future__ import annotations

from attrs import frozen

from txrproxy.config.schema import Config, Listener
from txrproxy.explain.rehearsal import Ask


@frozen
class Choice:
    """A listener that was looked at. ``why_not`` is empty for the one that serves."""

    name: str
    why_not: str
    note: str = ""


def choose(config: Config, ask: Ask) -> list[Choice]:
    """The listeners in order, up to the one that serves; one that was asked for does, alone.

    Raises ValueError where there is none.
    """
    if ask.listener is not None:
        if ask.listener not in config.listeners:
            known = ", ".join(config.listeners) or "none"
            raise ValueError(f"no listener named {ask.listener}; there are: {known}")
        return [Choice(ask.listener, "", "as asked for")]
    if not config.listeners:
        raise ValueError("the configuration has no listeners")
    refusals = {str(name): _why_not(one, ask) for name, one in config.listeners.items()}
    name, note = next(((n, "") for n, why in refusals.items() if not why), ("", ""))
    if not name:
        speaks = [str(n) for n, one in config.listeners.items() if _scheme(one) == ask.scheme]
        name = speaks[0] if speaks else next(iter(refusals))
        note = f"none has port {ask.port}" if speaks else f"none speaks {ask.scheme}"
    seen = [Choice(n, why) for n, why in refusals.items() if n != name]
    if not note:
        seen = seen[: list(refusals).index(name)]
    return [*seen, Choice(name, "", note)]


def _scheme(listener: Listener) -> str:
    return "http" if listener.tls is None else "https"


def _why_not(listener: Listener, ask: Ask) -> str:
    if _scheme(listener) != ask.scheme:
        return f"speaks {_scheme(listener)}, not {ask.scheme}"
    ports = [bind.port for bind in listener.bind if bind.kind == "tcp"]
    if ask.port not in ports:
        where = ", ".join(map(str, listener.bind))
        return f"is at {where}, not on port {ask.port}"
    return ""
