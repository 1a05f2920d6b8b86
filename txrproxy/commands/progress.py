"""A bar for who sits at a terminal while something takes its time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

WIDTH = 24  # characters of the bar
EVERY = 0.2  # seconds between two pictures of it


def picture(what: str, elapsed: float, limit: float) -> str:
    """How much of the time that it may take has passed, in seconds; without a limit, how much."""
    if limit <= 0:
        return f"{what} {elapsed:.0f} s"
    full = round(WIDTH * min(1.0, elapsed / limit))
    return f"{what} [{'#' * full}{'.' * (WIDTH - full)}] {elapsed:.0f} of {limit:.0f} s at most"


@contextmanager
def progress(
    what: str,
    limit: float = 0.0,
    *,
    quiet: bool = False,
    stream: Any = None,
    seconds: Callable[[], float] = time.monotonic,
    every: float = EVERY,
) -> Iterator[None]:
    """Show it on standard error until the block ends, and nothing of it afterwards.

    Where nobody looks (no terminal, or ``quiet``), nothing is shown.
    """
    stream = sys.stderr if stream is None else stream
    if quiet or not stream.isatty():
        yield
        return
    began, ended = seconds(), threading.Event()

    def draw() -> None:
        stream.write(f"\r\x1b[K{picture(what, seconds() - began, limit)}")
        stream.flush()

    def keep_drawing() -> None:
        while not ended.wait(every):
            draw()

    draw()
    drawing = threading.Thread(target=keep_drawing, daemon=True)
    drawing.start()
    try:
        yield
    finally:
        ended.set()
        drawing.join()
        stream.write("\r\x1b[K")
        stream.flush()
