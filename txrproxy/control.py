"""The other side of the control socket: what the ``txrproxy`` command asks a proxy that runs."""

from __future__ import annotations

import os
import select
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from txrproxy.config.schema import Server
from txrproxy.transport.channel import Body, Refused, ask

SOCKET = "control.sock"


class NotRunning(Exception):
    """Nobody answers; the text says where."""


def state_dir(config: str) -> str:
    """``server.state_dir`` of a file, which may have other faults. Raises :class:`NotRunning`."""
    try:
        tree = tomllib.loads(Path(config).read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise NotRunning(f"{config}: {error}; name the folder with --state-dir") from error
    server = tree.get("server")
    written = server.get("state_dir") if isinstance(server, dict) else None
    folder = written if isinstance(written, str) else Server().state_dir
    return str(Path(os.path.realpath(Path(config).parent)) / folder)


def call(folder: str, topic: str, timeout: float, body: Body | None = None) -> Body:
    """Ask the proxy with this state folder.

    Raises :class:`NotRunning`, and :class:`~txrproxy.transport.channel.Refused` with its reason.
    """
    path = os.path.join(folder, SOCKET)
    try:
        return ask(path, topic, body, timeout)
    except TimeoutError as error:
        raise Refused(f"no answer within {timeout:.0f} s") from error
    except PermissionError as error:
        raise NotRunning(f"{path}: {error.strerror}; ask as the user that the proxy runs as") from (
            error
        )
    except OSError as error:
        raise NotRunning(f"no proxy answers at {path}: {error.strerror}") from error


def wait_for_end(pid: int, timeout: float) -> bool:
    """Whether a process ended within ``timeout`` seconds."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], timeout)[0])
    finally:
        os.close(pidfd)


def report(status: Body) -> Iterator[tuple[str, ...]]:
    """The rows of ``txrproxy status``, for a person to read; the workers have rows of their own."""
    yield "version", status["version"]
    yield "main process", f"{status['pid']}, up {span(status['uptime'])}"
    yield "configuration", status["config"] or "-"
    yield "listeners", ", ".join(status["listeners"])
    yield "restarts", str(status["restarts"])
    last = status["last_reload"]
    if last is None:
        yield "reloads", "none"
    else:
        how = "ok" if last["ok"] else f"refused: {last['error']}"
        yield "reloads", f"{status['reloads']}, the last at {last['at']}: {how}"


def workers(status: Body) -> Iterator[tuple[str, ...]]:
    """A row for each worker, after one of titles."""
    yield "worker", "pid", "up", "connections", "memory"
    for row in status["workers"]:
        if "error" in row:
            yield str(row["worker"]), str(row["pid"]), row["error"], "", ""
        else:
            yield (
                str(row["worker"]),
                str(row["pid"]),
                span(row["uptime"]),
                str(row["connections"]),
                f"{row['rss'] / 2**20:.0f} MiB",
            )


def span(seconds: Any) -> str:
    """``3:25:45``, and days before it."""
    return str(timedelta(seconds=int(seconds)))
