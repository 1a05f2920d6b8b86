"""twistd in a process of its own, for what only a whole process can show.

Every wait has an end, and every process is ended, by its number, by the test that started it.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

PATIENCE = 30.0  # seconds; a test that needs them has failed
TREE = Path(__file__).parent.parent
RUN = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


def command(*arguments: str, python: str = sys.executable) -> list[str]:
    """The words that start twistd."""
    return [python, "-c", RUN, *arguments]


def environment(**changes: str) -> dict[str, str]:
    """That of a test: the tree under test is the one that is imported."""
    return {**os.environ, "PYTHONPATH": str(TREE), **changes}


def run(*arguments: str, cwd: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """twistd until it ends by itself, with what it wrote."""
    options.setdefault("env", environment())
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        **options,
    )


class Twistd:
    """``twistd -n txrproxy``; ``lines`` is what it has written on standard error so far.

    As a ``group``, its processes are one of their own, as those of a terminal are.
    """

    def __init__(
        self,
        config: Path,
        *options: str,
        python: str = sys.executable,
        env: Mapping[str, str] | None = None,
        group: bool = False,
    ) -> None:
        words = command(
            "-n", "--pidfile=", *options, "txrproxy", "--config", str(config), python=python
        )
        self.process = subprocess.Popen(
            words,
            cwd=config.parent,
            env=environment() if env is None else env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=group,
        )
        self.lines: list[str] = []
        self._told_to_end = False
        self._rest = b""

    def wait_for(self, text: str) -> re.Match[str]:
        """The first line not looked at yet that matches the pattern."""
        assert self.process.stderr is not None
        fd = self.process.stderr.fileno()
        deadline = time.monotonic() + PATIENCE
        while True:
            while b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                self.lines.append(line.decode())
                if found := re.search(text, self.lines[-1]):
                    return found
            left = deadline - time.monotonic()
            data = b""
            if select.select([fd], [], [], max(0, left))[0]:
                data = os.read(fd, 65536)
            if not data:
                raise AssertionError(f"no {text!r} in:\n" + "\n".join(self.lines))
            self._rest += data

    def port(self) -> int:
        """The port of the listener that the log tells of next."""
        return int(self.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1])

    def signal(self, number: signal.Signals) -> None:
        self._told_to_end = self._told_to_end or number in {signal.SIGTERM, signal.SIGINT}
        self.process.send_signal(number)

    def end(self) -> int:
        """Its exit status, after SIGTERM if it was not told yet: a second one would cut it short.

        twistd stops in order and then ends by the signal that told it to: -15.
        """
        if self.process.poll() is None and not self._told_to_end:
            self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.kill()

    def kill(self) -> None:
        """For the end of a test: whatever happened, nothing stays."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def ask(link: socket.socket, path: str = "/", close: bool = False) -> None:
    """Send a GET."""
    closing = "Connection: close\r\n" if close else ""
    link.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{closing}\r\n".encode())


def read_all(link: socket.socket) -> bytes:
    """Everything until the other side closes."""
    pieces = []
    while piece := link.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def get(port: int, path: str = "/") -> bytes:
    """The whole response to a GET, on a connection of its own."""
    with connect(port) as link:
        ask(link, path, close=True)
        return read_all(link)


def wait_until(done: Callable[[], object]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen")
        time.sleep(0.01)


def port_in(log: Path) -> int:
    """The port that a log tells of, as soon as it does."""
    pattern = re.compile(r"listening on 127\.0\.0\.1:(\d+)\n")
    wait_until(lambda: log.exists() and pattern.search(log.read_text()))
    found = pattern.search(log.read_text())
    assert found is not None
    return int(found[1])


def runs(pid: int) -> bool:
    """Whether there is such a process, and it has not ended yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def end(pid: int) -> None:
    """End a process that is not our child, and wait for it; it may have ended before."""
    if runs(pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not runs(pid))
