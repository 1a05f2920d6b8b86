"""Processes that a benchmark starts: pinned to one core, in a group of their own, always ended.

Each process leads its own session, so its group is exactly what we started: ending it reaches
workers too and nobody else.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_CORES = sorted(os.sched_getaffinity(0))
SUBJECT_CORE = _CORES[0]
LOAD_CORE = _CORES[-1]  # the origin and the load generator; the same core on a machine with one

START_SECONDS = 60.0  # 10,000 routes take some peers a while
STOP_SECONDS = 10.0


class StartError(Exception):
    """A process did not come up; the text ends with the last lines it printed."""


def find_program(name: str, folders: Sequence[Path] = ()) -> str | None:
    """The path of ``name`` in ``folders``, then on PATH, then where daemons live on Debian."""
    path = [*map(str, folders), *os.get_exec_path(), "/usr/local/sbin", "/usr/sbin"]
    return shutil.which(name, path=os.pathsep.join(path))


def on_core(core: int, command: Sequence[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command]


def accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextmanager
def running(
    command: Sequence[str],
    *,
    ports: Sequence[int],
    core: int,
    folder: Path,
    env: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Run ``command`` until the block ends; enters once every port accepts, with the process id.

    Raises :exc:`StartError` when the command exits early or the ports stay closed, and when a
    port is taken beforehand, for then another process would be measured in its place.
    """
    taken = [port for port in ports if accepts(port)]
    if taken:
        raise StartError(f"port {taken[0]} is already in use")
    output = folder / "output.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            on_core(core, command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not all(accepts(port) for port in ports):
            if process.poll() is not None:
                raise StartError(f"exited with {process.returncode}: {_tail(output)}")
            if time.monotonic() > deadline:
                raise StartError(f"not listening after {START_SECONDS:.0f} s: {_tail(output)}")
            time.sleep(0.05)
        yield process.pid
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):  # what the leader left behind, or all of it
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(output: Path) -> str:
    lines = output.read_text(errors="replace").split("\n")
    last = [line.strip() for line in lines if line.strip()][-3:]
    return " / ".join(last)[-400:] or "nothing printed"
