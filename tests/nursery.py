"""twistd by the hundred: what it imports is imported once, and each start is a fork of that.

The process that forks has no reactor and no threads, so that a child begins as a process that has
just been started does, some hundred milliseconds later.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.twistd import PATIENCE, environment

RUN = """
import os, sys
from twisted.plugin import getPlugins
from twisted.application.service import IServiceMaker
from twisted.scripts.twistd import run
list(getPlugins(IServiceMaker))
from txrproxy.config import build, toml
from txrproxy.service import tap
assert "twisted.internet.reactor" not in sys.modules
for line in sys.stdin:
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["twistd", "-n", "--pidfile=", "txrproxy", "--config", line.strip()]
        try:
            run()
        finally:
            os._exit(1)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Nursery:
    """Starts one after the other."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._child = 0
        self._rest = b""
        self.lines: list[str] = []  # that the last one has written on standard error

    def start(self, config: Path) -> int:
        """The port of a new one."""
        self.lines.clear()
        stdin: Any = self.process.stdin
        stdin.write(f"{config}\n".encode())
        stdin.flush()
        self._child = self._number()
        return self._port()

    def kill(self) -> None:
        """SIGKILL for the one that runs."""
        child, self._child = self._child, 0
        if child:
            os.kill(child, signal.SIGKILL)
            status = self._number()
            assert status == -signal.SIGKILL, (status, self.lines)

    def close(self) -> None:
        """Nothing stays."""
        if self._child:
            os.kill(self._child, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert file is not None
            file.close()

    def _number(self) -> int:
        stdout: Any = self.process.stdout
        if not select.select([stdout], [], [], PATIENCE)[0]:
            raise AssertionError("the process that starts others says nothing")
        return int(stdout.readline())

    def _port(self) -> int:
        stderr: Any = self.process.stderr
        deadline = time.monotonic() + PATIENCE
        while True:
            while b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                self.lines.append(line.decode())
                if found := re.search(r"listening on 127\.0\.0\.1:(\d+)", self.lines[-1]):
                    return int(found[1])
            data = b""
            if select.select([stderr], [], [], max(0, deadline - time.monotonic()))[0]:
                data = os.read(stderr.fileno(), 65536)
            if not data:
                raise AssertionError("it does not listen:\n" + "\n".join(self.lines))
            self._rest += data
