"""What the rules say of a request or a response."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

Tally = Counter[tuple[str, tuple[str, ...]]]
"""What is counted of verdicts, by metric and labels, until somebody takes it."""


class Verdict:
    """``blocked``: the rules condemn it. ``matches`` are as ``engine`` writes them."""

    __slots__ = ("blocked", "matches", "score")

    def __init__(self, blocked: bool, score: int, matches: Sequence[dict[str, Any]]) -> None:
        self.blocked = blocked
        self.score = score
        self.matches = matches


CLEAR = Verdict(False, 0, ())
"""No rule matched."""
