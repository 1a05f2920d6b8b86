"""The ``txrproxy`` command: what a person asks without starting the server.

``twistd txrproxy`` runs it; see ``service/tap.py``. Each command is in a module by its concern,
which is imported when the command is given: ``txrproxy version`` is not to wait for the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from txrproxy import __version__

_EPILOG = """\
The server itself runs under twistd:

  twistd -n txrproxy --config edge.toml

Exit status: 0 when it was done, 1 when it was refused or failed, 2 for a wrong command line,
3 when no proxy answers.
"""

_VERSION = f"txrproxy {__version__}"

# The commands by the module that has their ``add_commands``, with what the overview says of them.
_COMMANDS: tuple[tuple[str, Mapping[str, str]], ...] = (
    (
        "txrproxy.commands.checking",
        {"check": "say what is wrong with a configuration, or what it means"},
    ),
    (
        "txrproxy.commands.explaining",
        {"explain": "say what becomes of a request, and why, without sending it"},
    ),
    (
        "txrproxy.commands.settings",
        {"config": "print a configuration as the server understands it"},
    ),
    (
        "txrproxy.commands.running",
        {
            "status": "say how the proxy that runs is",
            "reload": "let the proxy that runs read its configuration again",
            "upgrade": "let the version that is installed by now go on in place of the one that "
            "runs",
            "stop": "end the proxy that runs, after what it carries",
        },
    ),
    (
        "txrproxy.commands.pools",
        {"pools": "list the backends of the proxy that runs, or take one out"},
    ),
    (
        "txrproxy.cache_cli",
        {"cache": "look into a response cache, or take something out of it"},
    ),
    (
        "txrproxy.commands.completion",
        {"completion": "print a script by which a shell completes this command"},
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status of the process."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    wanted = next((one for one in arguments if not one.startswith("-")), "")
    parser = make_parser(None if wanted == "completion" else wanted)
    options = parser.parse_args(arguments)
    try:
        status = int(options.run(options))
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads on, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit fails too
        return 1
    return status


def make_parser(wanted: str | None = None) -> argparse.ArgumentParser:
    """The whole command line; of all commands but ``wanted`` only the name, unless it is None."""
    parser = argparse.ArgumentParser(
        prog="txrproxy",
        description="An HTTP reverse proxy on Twisted.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=_VERSION, help="print the version, and end"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module, helps in _COMMANDS:
        if wanted is None or wanted in helps:
            import_module(module).add_commands(commands)
        else:
            for name, help in helps.items():
                commands.add_parser(name, help=help)
    version = commands.add_parser("version", help="print the version", description="The version.")
    version.add_argument("--json", action="store_true", help="print an object for programs")
    version.set_defaults(run=_version)
    return parser


def _version(options: argparse.Namespace) -> int:
    print(json.dumps({"version": __version__}) if options.json else _VERSION)
    return 0


if __name__ == "__main__":
    sys.exit(main())
