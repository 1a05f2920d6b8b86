"""The other side of the control socket: what the ``txrproxy`` command asks a proxy that runs."""

from __future__ import annotations

import os
import select
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from txrproxy.config.schema import Server
from txrproxy.transport.channel import Body, Refused, ask

SOCKET = "control.sock"
DRAINING = "draining.sock"  # where a proxy answers that ends


class NotRunning(Exception):
    """Nobody answers; the text says where."""


def state_dir(config: str) -> str:
    """``server.state_dir`` of a file, which may have other faults. Raises :class:`NotRunning`."""
    try:
        tree = tomllib.loads(Path(config).read_text("utf-8-sig"))
        server = tree.get("server")
        if "include" in tree and not (isinstance(server, dict) and "state_dir" in server):
            # Not at the top: it costs as much as all else that a short command does.
            from txrproxy.config.toml import unchecked

            server = unchecked(config).get("server")
    except (OSError, ValueError) as error:
        raise NotRunning(f"{config}: {error}; name the folder with --state-dir") from error
    written = server.get("state_dir") if isinstance(server, dict) else None
    folder = written if isinstance(written, str) else Server().state_dir
    return str(Path(os.path.realpath(Path(config).parent)) / folder)


def call(folder: str, topic: str, timeout: float, body: Body | None = None) -> Body:
    """Ask the proxy with this state folder; the one that drains there, if no other runs.

    Raises :class:`NotRunning`, and :class:`~txrproxy.transport.channel.Refused` with its reason.
    """
    path = os.path.join(folder, SOCKET)
    try:
        try:
            return ask(path, topic, body, timeout)
        except (FileNotFoundError, ConnectionRefusedError):
            with suppress(FileNotFoundError, ConnectionError):  # none drains, or it was killed
                return ask(os.path.join(folder, DRAINING), topic, body, timeout)
            raise
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
    state = "" if status["state"] == "serving" else f", {status['state']}"
    yield "main process", f"{status['pid']}, up {span(status['uptime'])}{state}"
    yield "configuration", status["config"] or "-"
    yield "listeners", ", ".join(status["listeners"]) or "none"
    yield "restarts", str(status["restarts"])
    last = status["last_reload"]
    if last is None:
        yield "reloads", "none"
    else:
        how = "the last at" if last["ok"] else "then one refused at"
        why = "" if last["ok"] else f": {last['error']}"
        yield "reloads", f"{status['reloads']}, {how} {last['at']}{why}"


def workers(status: Body) -> Iterator[tuple[str, ...]]:
    """A row for each worker, after one of titles."""
    yield "worker", "pid", "up", "connections", "memory", "state"
    serves = "drains" if status["state"] == "draining" else "serves"
    for state, rows in ((serves, status["workers"]), ("drains", status["leaving"])):
        for row in rows:
            number, pid = str(row["worker"]), str(row["pid"])
            if "error" in row:
                yield number, pid, "", "", "", row["error"]
            else:
                memory = f"{row['rss'] / 2**20:.0f} MiB"
                yield number, pid, span(row["uptime"]), str(row["connections"]), memory, state
    for row in status["missing"]:
        yield str(row["worker"]), "", "", "", "", f"died; a new one in {row['seconds']:.0f} s"


def span(seconds: Any) -> str:
    """``3:25:45``, and days before it."""
    return str(timedelta(seconds=int(seconds)))
