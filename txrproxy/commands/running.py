"""``txrproxy status``, ``reload``, ``upgrade``, ``stop``: for a proxy that runs."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import Any

from txrproxy import control
from txrproxy.commands.asking import asks, failed, show
from txrproxy.commands.progress import progress
from txrproxy.table import columns, width


def add_commands(commands: Any) -> None:
    """Add them to the commands of ``argparse``."""
    for name, help, description, run, timeout in (
        (
            "status",
            "say how the proxy that runs is",
            "Processes, connections, memory, and how the last reload went.",
            _status,
            10,
        ),
        (
            "reload",
            "let the proxy that runs read its configuration again",
            "Waits until every process serves what the file says, and prints what `check` would "
            "warn of. When the file has a fault, or one of its tests fails, prints it, exits with "
            "1, and nothing has changed.",
            _reload,
            120,
        ),
        (
            "upgrade",
            "let the version that is installed by now go on in place of the one that runs",
            "A new process takes the listening sockets and becomes ready, then the old one drains "
            "and ends. When the new one does not become ready, it is dropped and the old one goes "
            "on.",
            _upgrade,
            120,
        ),
        (
            "stop",
            "end the proxy that runs, after what it carries",
            "Waits until it has drained: server.drain_timeout at most.",
            _stop,
            600,
        ),
    ):
        asks(commands.add_parser(name, help=help, description=description), run, timeout)


def _status(options: Namespace, folder: str) -> int:
    status = control.call(folder, "status", options.timeout)
    if options.json:
        show(status)
    else:
        print("\n".join(columns(control.report(status), width())), end="\n\n")
        print("\n".join(columns(control.workers(status), width())))
    return 0


def _reload(options: Namespace, folder: str) -> int:
    with progress("reloading", options.timeout, quiet=options.json):
        done = control.call(folder, "reload", options.timeout)
    if options.json:
        print(json.dumps(done))
        return 0
    print(f"reloaded in {done['seconds']} s")
    for warning in done["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def _upgrade(options: Namespace, folder: str) -> int:
    with progress("waiting for the new process", options.timeout, quiet=options.json):
        done = control.call(folder, "upgrade", options.timeout)
    print(json.dumps({"ok": True, **done}) if options.json else f"process {done['pid']} goes on")
    return 0


def _stop(options: Namespace, folder: str) -> int:
    pid = control.call(folder, "stop", options.timeout)["pid"]
    with progress(f"process {pid} drains", options.timeout, quiet=options.json):
        ended = control.wait_for_end(pid, options.timeout)
    if not ended:
        return failed(options, f"process {pid} still drains after {options.timeout:.0f} s", 1)
    print(json.dumps({"ok": True, "pid": pid}) if options.json else "stopped")
    return 0
