"""``txrproxy config``: a configuration as the server understands it, includes and all."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from txrproxy.commands.asking import add_file, failed, show
from txrproxy.config.effective import effective, toml
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import load


def add_commands(commands: Any) -> None:
    """Add ``config`` to the commands of ``argparse``."""
    parser = commands.add_parser(
        "config",
        help="print a configuration as the server understands it",
        description="Prints what the file and its includes say, as one file. Secrets, and the "
        "values of header fields that are likely to be one, are masked.",
    )
    add_file(parser)
    parser.add_argument("--effective", action="store_true", help="with every default")
    parser.add_argument("--json", action="store_true", help="print an object for programs")
    parser.set_defaults(run=_config)


def _config(options: Namespace) -> int:
    try:
        config = load(options.file)
    except ConfigErrors as error:
        return failed(options, str(error), 1)
    found = effective(config, defaults=options.effective)
    if options.json:
        show(found)
    else:
        print(toml(found))
    return 0
