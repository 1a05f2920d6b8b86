"""Where the time of a subject goes: whichever of perf, py-spy and cProfile is there.

perf shows the kernel and C; py-spy shows Python lines and slows nothing down; cProfile counts every
call and is always there, but makes calls look dearer than they are.
"""

from __future__ import annotations

import pstats
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from benchmarks.measure import busiest
from benchmarks.process import LOAD_CORE, find_program, on_core

_LINES = 60


class ProfileError(Exception):
    """A profiler recorded nothing; the text says what it printed."""


@dataclass(frozen=True)
class Profiler:
    """``recording`` surrounds the load; ``read`` makes text of it once the subject has ended."""

    name: str
    recording: Callable[[int, Path, int], AbstractContextManager[None]]
    read: Callable[[Path], str]
    how: Mapping[str, Any] = field(default_factory=dict)  # what the subject's Place needs


def available(venv: Path, product: bool) -> list[Profiler]:
    """The profilers that can be used; cProfile only for the ``product``, which twistd starts."""
    found = []
    if perf := find_program("perf"):
        found.append(_perf(perf))
    if py_spy := find_program("py-spy", [venv / "bin"]):
        found.append(_py_spy(py_spy))
    if product:
        found.append(_C_PROFILE)
    return found


def _perf(program: str) -> Profiler:
    @contextmanager
    def recording(pid: int, folder: Path, seconds: int) -> Iterator[None]:
        command = [program, "record", "-q", "-F", "499", "-o", str(folder / "perf.data")]
        with _beside([*command, "-p", str(busiest(pid)), "--", "sleep", str(seconds + 1)]):
            yield

    def read(folder: Path) -> str:
        options = ["--stdio", "-F", "overhead,dso,sym", "-i", str(folder / "perf.data")]
        done = subprocess.run(
            [program, "report", *options],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise ProfileError(done.stderr.strip())
        lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
        return "\n".join(lines[:_LINES]) + "\n"

    return Profiler("perf", recording, read)


def _py_spy(program: str) -> Profiler:
    @contextmanager
    def recording(pid: int, folder: Path, seconds: int) -> Iterator[None]:
        command = [program, "record", "-f", "raw", "-r", "200", "-d", str(seconds + 1)]
        with _beside([*command, "-o", str(folder / "stacks"), "-p", str(busiest(pid))]):
            yield

    def read(folder: Path) -> str:
        return self_and_total((folder / "stacks").read_text())

    return Profiler("py-spy", recording, read)


def self_and_total(stacks: str) -> str:
    """A table from collapsed stacks (``outer;inner COUNT``): share at the tip, and anywhere."""
    tips: Counter[str] = Counter()
    anywhere: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        tips[frames[-1]] += int(count)
        for frame in set(frames):
            anywhere[frame] += int(count)
    samples = sum(tips.values())
    if not samples:
        raise ProfileError("no samples")
    rows = [
        f"{tips[frame] / samples:7.1%} {total / samples:7.1%}  {frame}"
        for frame, total in anywhere.items()
    ]
    rows.sort(key=lambda row: float(row.split("%", 1)[0]), reverse=True)
    return "\n".join(["   self   total  frame", *rows[:_LINES]]) + "\n"


def _read_c_profile(folder: Path) -> str:
    file = folder / "profile"
    if not file.exists():
        raise ProfileError("twistd left no statistics behind")
    text = StringIO()
    pstats.Stats(str(file), stream=text).strip_dirs().sort_stats("tottime").print_stats(_LINES)
    return text.getvalue()


# twistd writes it when it ends; it sees its own process only, so the traffic must be served there.
_C_PROFILE = Profiler(
    "cProfile",
    lambda pid, folder, seconds: nullcontext(),
    _read_c_profile,
    how={"workers": 0, "profile": True},
)


@contextmanager
def _beside(command: list[str]) -> Iterator[None]:
    """Run ``command`` on the load's core during the block; it ends by itself.

    It starts with the warm-up, so it is told to last a second longer than the measured load.
    """
    process = subprocess.Popen(
        on_core(LOAD_CORE, command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield
        _, said = process.communicate(timeout=60)
        if process.returncode:
            raise ProfileError(said.strip())
    except subprocess.TimeoutExpired as error:
        raise ProfileError("the profiler did not end") from error
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
