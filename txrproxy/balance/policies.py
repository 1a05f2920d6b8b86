"""The balance policies by the names that a configuration calls them."""

from __future__ import annotations

from typing import Any, Final

from txrproxy.balance.consistent import Hash
from txrproxy.balance.load import Ewma, LeastConnections, PowerOfTwo
from txrproxy.balance.select import RandomChoice, RoundRobin

POLICIES: Final[dict[str, Any]] = {
    "round_robin": RoundRobin,
    "random": RandomChoice,
    "least_connections": LeastConnections,
    "power_of_two": PowerOfTwo,
    "ewma": Ewma,
    "hash": Hash,
}
