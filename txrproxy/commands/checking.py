"""``txrproxy check``: what is wrong with a configuration, or what it means."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from typing import Any

from txrproxy.commands.asking import add_file
from txrproxy.config import waf
from txrproxy.config.certificates import served_names
from txrproxy.config.effective import MASK, does, is_hidden
from txrproxy.config.problems import ConfigErrors, Finding, Problem
from txrproxy.config.schema import Config, Match
from txrproxy.config.toml import load_with_warnings
from txrproxy.table import columns


def add_commands(commands: Any) -> None:
    """Add ``check`` to the commands of ``argparse``."""
    check = commands.add_parser(
        "check",
        help="say what is wrong with a configuration, or what it means",
        description=(
            "Reads a configuration as the server would, and runs its [[tests]]. Prints every "
            "problem and exits with 1, or prints its listeners, pools and routes, and exits with 0."
        ),
    )
    add_file(check)
    check.add_argument("--json", action="store_true", help="print an object for programs")
    check.set_defaults(run=_check)


def _check(options: Namespace) -> int:
    try:
        config, warnings = load_with_warnings(options.file, files=True, further=_tests)
    except ConfigErrors as error:
        problems = error.problems
        if options.json:
            said = {"problems": _plain(problems), "warnings": _plain(error.warnings)}
            print(json.dumps({"ok": False, **said}, indent=2))
            return 1
        print(error, file=sys.stderr)
        for warning in error.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(f"\n{len(problems)} problem{'s' if len(problems) > 1 else ''}.", file=sys.stderr)
        return 1
    if options.json:
        found = {"ok": True, "problems": [], "warnings": _plain(warnings)}
        print(json.dumps({**found, "tests": len(config.tests)}, indent=2))
        return 0
    print(summary(config))
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def _tests(config: Config) -> Iterable[Finding]:
    if not config.tests:
        return ()
    from txrproxy.explain.routetests import failures  # all that serves, only if used

    return failures(config)


def _plain(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    return [
        {"file": one.file, "line": one.line or None, "key": one.key, "message": one.message}
        for one in problems
    ]


def summary(config: Config) -> str:
    """What a configuration means, for a person to read."""
    parts = [
        ("listeners", _listeners(config)),
        ("pools", _pools(config)),
        ("routes, the first that matches wins", _routes(config)),
    ]
    if firewalls := [*waf.summary(config)]:
        parts.append(("web application firewall, by policy", iter(firewalls)))
    if config.tests:
        count = len(config.tests)
        parts.append(("tests", iter([(f"{count} passed",)])))
    return "\n\n".join(
        "\n".join([title, *(f"  {line}" for line in columns(rows))]) for title, rows in parts
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
            names = ", ".join(served_names(listener.tls, config.resolve))
            notes.append(f"TLS {listener.tls.profile}{' for ' if names else ''}{names}")
            if listener.tls.self_signed:
                notes.append("self-signed")
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
        uses = [f"use {', '.join(route.use)}"] if route.use else []
        if route.cache is not None:
            uses.append(f"cache {route.cache.store}")
        conditions, target = _conditions(route.match), does(route)
        yield f"{number}", route.name, conditions, "->", target, "; ".join(uses)


def _conditions(match: Match) -> str:
    conditions = [
        *(_any_of(key, getattr(match, key)) for key in ("host", "path") if getattr(match, key)),
        *([f"path ~ {match.path_regex}"] if match.path_regex is not None else []),
        *(_any_of(key, getattr(match, key)) for key in ("method", "client") if getattr(match, key)),
        *(
            _any_of(f"header {name}", [MASK] if is_hidden(name) else values)
            for name, values in match.header.items()
        ),
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
