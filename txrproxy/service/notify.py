"""Tells systemd how the service is (sd_notify(3)): one datagram of ``NAME=value`` lines.

Without systemd, or with a unit that does not listen (``Type=simple``), nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any


class Notifier:
    """``clock`` is an IReactorTime, for the watchdog."""

    def __init__(self, clock: Any) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self._call: Any = None

    def ready(self, processes: int) -> None:
        """Serving with so many: after the start, or again after a reload."""
        what = "1 process" if processes == 1 else f"{processes} processes"
        self._send("READY=1", f"STATUS=serving with {what}")

    def reloading(self) -> None:
        """Busy with a new configuration until :meth:`ready`."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Draining."""
        self._send("STOPPING=1", "STATUS=draining")

    def main_pid(self, pid: int) -> None:
        """Another process is the main one from now on."""
        self._send(f"MAINPID={pid}")

    def watch(self) -> None:
        """Tell the watchdog, if the unit has one, that the loop turns."""
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        pid = os.environ.get("WATCHDOG_PID", "") or str(os.getpid())
        if self._address and microseconds.isdigit() and int(microseconds) and pid.isdigit():
            self._tick(int(microseconds) / 2e6)

    def _tick(self, interval: float) -> None:
        self._send("WATCHDOG=1")
        self._call = self._clock.callLater(interval, self._tick, interval)

    def close(self) -> None:
        """No more of the watchdog."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # An "@" stands for the zero byte of an abstract address.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.setblocking(False)
            try:
                link.sendto("\n".join(lines).encode(), address)
            except OSError:
                pass  # systemd itself is away or busy: there is nobody else to tell
