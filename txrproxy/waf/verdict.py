"""What the rules say of a request or a response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Verdict:
    """``blocked``: the rules condemn it. ``matches`` are as ``engine`` writes them."""

    __slots__ = ("blocked", "matches", "score")

    def __init__(self, blocked: bool, score: int, matches: Sequence[dict[str, Any]]) -> None:
        self.blocked = blocked
        self.score = score
        self.matches = matches


CLEAR = Verdict(False, 0, ())
"""No rule matched."""
