"""The bar while something takes its time."""

from __future__ import annotations

import io
import threading

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.commands.progress import WIDTH, picture, progress


class Terminal(io.StringIO):
    """Counts pictures; a test waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn = threading.Semaphore(0)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.drawn.release()
        return super().write(text)


class PictureTests(SynchronousTestCase):
    def test_table(self) -> None:
        bar = "#" * (WIDTH // 2) + "." * (WIDTH // 2)
        for elapsed, limit, expected in (
            (3.2, 0, "draining 3 s"),
            (60, 120, f"draining [{bar}] 60 of 120 s at most"),
            (0, 10, f"draining [{'.' * WIDTH}] 0 of 10 s at most"),
            (99, 10, f"draining [{'#' * WIDTH}] 99 of 10 s at most"),
        ):
            self.assertEqual(picture("draining", elapsed, limit), expected)


class ProgressTests(SynchronousTestCase):
    def test_drawn_again_and_gone_at_the_end(self) -> None:
        terminal = Terminal()
        times = iter(range(10**6))
        with progress("x", stream=terminal, seconds=lambda: float(next(times)), every=0.001):
            for _ in range(3):
                self.assertTrue(terminal.drawn.acquire(timeout=30))
        shown = terminal.getvalue().split("\r\x1b[K")
        self.assertEqual(shown[:4], ["", "x 1 s", "x 2 s", "x 3 s"])
        self.assertEqual(shown[-1], "")

    def test_gone_after_a_failure(self) -> None:
        terminal = Terminal()
        with self.assertRaises(ValueError), progress("x", stream=terminal):
            raise ValueError
        self.assertTrue(terminal.getvalue().endswith("\r\x1b[K"))

    def test_nobody_looks(self) -> None:
        terminal, pipe = Terminal(), io.StringIO()
        with progress("x", stream=pipe), progress("x", quiet=True, stream=terminal):
            pass
        self.assertEqual((pipe.getvalue(), terminal.getvalue()), ("", ""))
