"""``txrproxy explain``: what becomes of a request, and why, without sending it."""

from __future__ import annotations

import argparse
import ipaddress
import sys
from argparse import Namespace
from typing import Any

from txrproxy import control
from txrproxy.commands.asking import failed, show
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import load
from txrproxy.explain.explanation import explain
from txrproxy.explain.rehearsal import NOBODY, Ask
from txrproxy.explain.report import report
from txrproxy.explain.running import States, states
from txrproxy.table import width
from txrproxy.transport.channel import Refused

_DESCRIPTION = """\
Plays a request through the code that serves, sends nothing, and says what happens and why: which
listener and route take it and why those before do not, which policies it meets, what the cache has
for it, which backend would get it, and what that would read. Without a route of its own the answer
of the proxy is shown.

When a proxy runs with the file, its backends are as it knows them; otherwise as configured.
"""


def add_commands(commands: Any) -> None:
    """Add ``explain`` to the commands of ``argparse``."""
    parser = commands.add_parser(
        "explain",
        help="say what becomes of a request, and why, without sending it",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("method", metavar="METHOD", help="GET, POST, ...")
    parser.add_argument("url", metavar="URL", help="absolute: https://example.com/path?query")
    parser.add_argument("-c", "--config", metavar="FILE", required=True, help="the TOML file")
    parser.add_argument(
        "-H",
        "--header",
        metavar="FIELD",
        action="append",
        default=[],
        type=_field,
        help='a header field, "Name: value"; any number of them',
    )
    parser.add_argument(
        "--client", metavar="IP", default=NOBODY, type=_address, help=f"who asks ({NOBODY}, nobody)"
    )
    parser.add_argument("--listener", metavar="NAME", help="where, if the URL does not say it")
    parser.add_argument(
        "--offline", action="store_true", help="do not ask the proxy that runs for its backends"
    )
    parser.add_argument("--all", action="store_true", help="show every route that refuses it")
    parser.add_argument("--json", action="store_true", help="print an object for programs")
    parser.set_defaults(run=_explain)


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f'not of the form "Name: value": {text}')
    return name.strip(), value.strip()


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"not an IP address: {text}") from None


def _explain(options: Namespace) -> int:
    try:
        ask = Ask(
            options.method, options.url, tuple(options.header), options.client, options.listener
        )
        config = load(options.config, files=False)
        found = explain(config, ask, None if options.offline else _known(options.config))
    except (ConfigErrors, ValueError) as error:
        return failed(options, str(error), 1)
    if options.json:
        show(found)
    else:
        print(report(found, min(width(), 120), every=options.all))
    return 0


def _known(file: str) -> States | None:
    """What a running proxy knows of backends; None without one."""
    try:
        return states(control.call(control.state_dir(file), "pools", 10.0))
    except control.NotRunning:
        return None
    except Refused as error:
        print(f"the proxy that runs does not say how its backends are: {error}", file=sys.stderr)
        return None
