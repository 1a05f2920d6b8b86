"""The ``txrproxy`` command: what a person asks without starting the server.

``twistd txrproxy`` runs it; see ``service/tap.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from txrproxy import __version__, control
from txrproxy.config import waf
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.schema import Config, Match, Route
from txrproxy.config.toml import load_with_warnings
from txrproxy.transport.channel import Refused

_EPILOG = """\
The server itself runs under twistd:

  twistd -n txrproxy --config edge.toml

Exit status: 0 when it was done, 1 when it was refused or failed, 2 for a wrong command line,
3 when no proxy answers.
"""

_NOT_RUNNING = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status of the process."""
    options = _parser().parse_args(argv)
    return int(options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="txrproxy",
        description="An HTTP reverse proxy on Twisted.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = commands.add_parser(
        "check",
        help="say what is wrong with a configuration, or what it means",
        description=(
            "Reads a configuration as the server would. Prints every problem and exits with 1, "
            "or prints its listeners, pools and routes, and exits with 0."
        ),
    )
    check.add_argument("file", metavar="FILE", help="the TOML file")
    check.set_defaults(run=lambda options: _check(options.file))
    _running(
        commands,
        "status",
        "say how the proxy that runs is",
        "Processes, connections, memory, and how the last reload went.",
        _status,
    )
    _running(
        commands,
        "reload",
        "let the proxy that runs read its configuration again",
        "Waits until every process serves what the file says. When the file has a fault, prints "
        "it, exits with 1, and nothing has changed.",
        _reload,
        timeout=120,
    )
    _running(
        commands,
        "upgrade",
        "let the version that is installed by now go on in place of the one that runs",
        "A new process takes the listening sockets and becomes ready, then the old one drains and "
        "ends. When the new one does not become ready, it is dropped and the old one goes on.",
        _upgrade,
        timeout=120,
    )
    _running(
        commands,
        "stop",
        "end the proxy that runs, after what it carries",
        "Waits until it has drained: server.drain_timeout at most.",
        _stop,
        timeout=600,
    )
    version = commands.add_parser("version", help="print the version", description="The version.")
    version.set_defaults(run=lambda _: _version())
    return parser


def _running(
    commands: Any,
    name: str,
    help: str,
    description: str,
    run: Callable[[argparse.Namespace, str], int],
    timeout: int = 10,
) -> None:
    """A command for a proxy that runs: found by its file, or by its state folder."""
    parser = commands.add_parser(name, help=help, description=description)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("-c", "--config", metavar="FILE", help="the TOML file that it runs with")
    where.add_argument("--state-dir", metavar="DIR", help="its server.state_dir")
    parser.add_argument(
        "--timeout", type=float, default=timeout, metavar="S", help=f"seconds to wait ({timeout})"
    )
    parser.add_argument("--json", action="store_true", help="print an object for programs")

    def found(options: argparse.Namespace) -> int:
        try:
            return run(options, options.state_dir or control.state_dir(options.config))
        except control.NotRunning as error:
            return _failed(options, str(error), _NOT_RUNNING)
        except Refused as error:
            return _failed(options, str(error), 1)

    parser.set_defaults(run=found)


def _failed(options: argparse.Namespace, why: str, status: int) -> int:
    if options.json:
        print(json.dumps({"ok": False, "error": why}))
    print(why, file=sys.stderr)
    return status


def _status(options: argparse.Namespace, folder: str) -> int:
    status = control.call(folder, "status", options.timeout)
    if options.json:
        print(json.dumps(status, indent=2))
    else:
        print("\n".join(_columns(control.report(status))), end="\n\n")
        print("\n".join(_columns(control.workers(status))))
    return 0


def _reload(options: argparse.Namespace, folder: str) -> int:
    done = control.call(folder, "reload", options.timeout)
    print(json.dumps(done) if options.json else f"reloaded in {done['seconds']} s")
    return 0


def _upgrade(options: argparse.Namespace, folder: str) -> int:
    done = control.call(folder, "upgrade", options.timeout)
    print(json.dumps({"ok": True, **done}) if options.json else f"process {done['pid']} goes on")
    return 0


def _stop(options: argparse.Namespace, folder: str) -> int:
    pid = control.call(folder, "stop", options.timeout)["pid"]
    if not control.wait_for_end(pid, options.timeout):
        return _failed(options, f"process {pid} still drains after {options.timeout:.0f} s", 1)
    print(json.dumps({"ok": True, "pid": pid}) if options.json else "stopped")
    return 0


def _version() -> int:
    print(f"txrproxy {__version__}")
    return 0


def _check(file: str) -> int:
    try:
        config, warnings = load_with_warnings(file, files=True)
    except ConfigErrors as error:
        print(error, file=sys.stderr)
        count = len(error.problems)
        print(f"\n{count} problem{'s' if count > 1 else ''}.", file=sys.stderr)
        return 1
    print(summary(config))
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def summary(config: Config) -> str:
    """What a configuration means, for a person to read."""
    parts = [
        ("listeners", _listeners(config)),
        ("pools", _pools(config)),
        ("routes, the first that matches wins", _routes(config)),
    ]
    if firewalls := [*waf.summary(config)]:
        parts.append(("web application firewall, by policy", iter(firewalls)))
    return "\n\n".join(
        "\n".join([title, *(f"  {line}" for line in _columns(rows))]) for title, rows in parts
    )


def _listeners(config: Config) -> Iterator[tuple[str, ...]]:
    for name, listener in config.listeners.items():
        notes = []
        if listener.redirect_https is not False:
            port = "" if listener.redirect_https is True else f" on port {listener.redirect_https}"
            notes.append(f"redirects to https{port}")
        if listener.proxy_protocol != "off":
            notes.append(f"PROXY protocol {listener.proxy_protocol}")
        if listener.tls is not None:
            notes.append(f"TLS {listener.tls.profile}")
            if listener.tls.client_auth != "off":
                notes.append(f"client certificates {listener.tls.client_auth}")
        yield name, ", ".join(map(str, listener.bind)), ", ".join(notes)


def _pools(config: Config) -> Iterator[tuple[str, ...]]:
    for name, pool in config.pools.items():
        label, balance = str(name), str(pool.balance)
        for backend in pool.backends:
            notes = [f"weight {backend.weight}"] if backend.weight != 1 else []
            if backend.max_connections:
                notes.append(f"at most {backend.max_connections} connections")
            yield label, balance, str(backend.url), ", ".join(notes)
            label = balance = ""


def _routes(config: Config) -> Iterator[tuple[str, ...]]:
    for number, route in enumerate(config.routes, 1):
        uses = f"use {', '.join(route.use)}" if route.use else ""
        yield f"{number}", route.name, _conditions(route.match), "->", _target(route), uses


def _conditions(match: Match) -> str:
    conditions = [
        *(_any_of(key, getattr(match, key)) for key in ("host", "path") if getattr(match, key)),
        *([f"path ~ {match.path_regex}"] if match.path_regex is not None else []),
        *(_any_of(key, getattr(match, key)) for key in ("method", "client") if getattr(match, key)),
        *(_any_of(f"header {name}", values) for name, values in match.header.items()),
        *(_any_of(f"query {name}", values) for name, values in match.query.items()),
        *(
            _any_of(f"client_cert {kind}", getattr(match.client_cert, kind))
            for kind in ("subject", "san", "fingerprint")
            if getattr(match.client_cert, kind, ())
        ),
    ]
    return " and ".join(conditions) or "everything"


def _any_of(key: str, values: Iterable[object]) -> str:
    return f"{key} {' | '.join(map(str, values))}"


def _target(route: Route) -> str:
    if route.pool is not None:
        return f"pool {route.pool}"
    if route.split:
        total = sum(route.split.values())
        shares = (f"{name} {100 * weight / total:.3g}%" for name, weight in route.split.items())
        return f"split {', '.join(shares)}"
    if route.redirect is not None:
        return f"{route.redirect.status} {route.redirect.to}"
    if route.respond is not None:
        return f"respond {route.respond.status}"
    return f"resource {route.resource}"


def _columns(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Cells, each column as wide as its widest cell."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


if __name__ == "__main__":
    sys.exit(main())
