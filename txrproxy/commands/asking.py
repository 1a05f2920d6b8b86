"""What commands for a proxy that runs have in common: how they find it, and how they fail.

Exit statuses: 0 it was done, 1 it was refused or failed, 2 a wrong command line (``argparse``),
3 no proxy answers.
"""

from __future__ import annotations

import json
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

from txrproxy import control
from txrproxy.transport.channel import Refused

NOT_RUNNING = 3

Run = Callable[[Namespace, str], int]


def asks(parser: ArgumentParser, run: Run, timeout: int = 10) -> None:
    """Make a command one for a proxy that runs: found by its file, or by its state folder.

    ``run(options, folder)`` does it, and may raise what :func:`txrproxy.control.call` raises.
    """
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("-c", "--config", metavar="FILE", help="the TOML file that it runs with")
    where.add_argument("--state-dir", metavar="DIR", help="its server.state_dir")
    parser.add_argument(
        "--timeout", type=float, default=timeout, metavar="S", help=f"seconds to wait ({timeout})"
    )
    parser.add_argument("--json", action="store_true", help="print an object for programs")

    def found(options: Namespace) -> int:
        try:
            return run(options, options.state_dir or control.state_dir(options.config))
        except control.NotRunning as error:
            return failed(options, str(error), NOT_RUNNING)
        except Refused as error:
            return failed(options, str(error), 1)

    parser.set_defaults(run=found)


def add_file(parser: ArgumentParser) -> None:
    """A command for a file: ``FILE``, or ``-c FILE`` as with the others; ``options.file``."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("file", metavar="FILE", nargs="?", default=SUPPRESS, help="the TOML file")
    which.add_argument(
        "-c", "--config", metavar="FILE", dest="file", default=SUPPRESS, help="the same"
    )


def failed(options: Namespace, why: str, status: int) -> int:
    """Say why, for people and programs."""
    if options.json:
        print(json.dumps({"ok": False, "error": why}))
    print(why, file=sys.stderr)
    return status


def show(value: Any) -> None:
    """Print for programs."""
    print(json.dumps(value, indent=2))
