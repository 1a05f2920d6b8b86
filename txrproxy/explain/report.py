"""An explanation as text: one paragraph for each decision, in the order of a request's way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from txrproxy.table import columns, printable

_INDENT = "  "
_MAX_REFUSED = 20  # routes that are shown one by one


def report(found: Mapping[str, Any], width: int = 80, *, every: bool = False) -> str:
    """What :func:`~txrproxy.explain.explanation.explain` found, for a person to read.

    ``width`` is in columns. Without ``every`` only the last routes that refuse are shown.
    """
    parts = [
        ("request", _request(found["request"])),
        ("listener", _listeners(found, width)),
        ("route", _routes(found, width, every)),
        ("plan", _plan(found["plan"], width)),
        ("policies, in their order", _policies(found["policies"], width)),
        ("cache", _cache(found["cache"])),
        ("pool", _pool(found["pool"], width)),
        ("what the client gets", _answer(found)),
        ("what the backend gets", _message(found["to_backend"] or "")),
    ]
    paragraphs = []
    for title, lines in parts:
        text = [_INDENT + printable(line) for line in lines]
        if text:
            paragraphs.append("\n".join([title, *text]))
    return "\n\n".join(paragraphs)


def _request(request: Mapping[str, Any]) -> Iterator[str]:
    yield f"{request['method']} {request['url']}"
    who = request["client"]
    if request["from"] != who:
        who += f", behind the trusted proxy {request['from']}"
    elif request["trusted"]:
        who += ", a trusted proxy"
    yield f"from {who}, over {'https' if request['https'] else 'http'}"


def _listeners(found: Mapping[str, Any], width: int) -> Iterator[str]:
    rows = []
    for one in found["listeners"]:
        note = f"serves ({one['note']})" if one["note"] else "serves"
        rows.append((one["name"], f"no: {one['why_not']}" if one["why_not"] else note))
    yield from columns(rows, width - len(_INDENT))
    if found["redirects_to_https"]:
        yield "it sends everyone to https"


def _routes(found: Mapping[str, Any], width: int, every: bool) -> Iterator[str]:
    routes: Sequence[Mapping[str, Any]] = found["routes"]
    skipped = 0 if every else max(0, len(routes) - _MAX_REFUSED)
    if skipped:
        yield f"({skipped} routes before these refuse it too; --all shows them)"
    rows = []
    for number, one in enumerate(routes[skipped:], skipped + 1):
        refusal = one["why_not"]
        said = "takes it" if refusal is None else f"no: {refusal['text']}"
        rows.append((str(number), one["name"], said))
    yield from columns(rows, width - len(_INDENT))
    if found["route"] is None and not found["redirects_to_https"]:
        yield "no route takes it"


def _plan(plan: Mapping[str, Any] | None, width: int) -> Iterator[str]:
    rows = []
    for name, value in (plan or {}).items():
        if isinstance(value, Mapping):
            said = ", ".join(f"{key} {item}" for key, item in value.items())
        elif isinstance(value, bool):
            said = "yes" if value else "no"
        else:
            said = " -> ".join(value) if isinstance(value, list) else str(value)
        rows.append((name, said))
    yield from columns(rows, width - len(_INDENT))


def _policies(policies: Sequence[Mapping[str, Any]], width: int) -> Iterator[str]:
    rows = []
    for one in policies:
        says = one["says"] + (f": {one['reason']}" if one["reason"] else "")
        rows.append((one["policy"], one["kind"], says, one["settings"]))
    yield from columns(rows, width - len(_INDENT))


def _cache(cache: Mapping[str, Any] | None) -> Iterator[str]:
    if cache is None:
        return
    yield f"store {cache['store']}"
    if cache["why_not"]:
        yield f"passed by: {cache['why_not']}"
        return
    yield f"key   {cache['key']!r}"
    stored = cache["stored"]
    if cache["problem"]:
        yield f"cannot tell what is stored: {cache['problem']}"
    elif stored is None:
        yield "nothing is stored for it"
    else:
        left = f"fresh for {stored['ttl']} s more"
        over = f"stale for {-stored['ttl']} s"
        yield (
            f"stored: status {stored['status']}, {stored['length']} bytes, {stored['age']} s old, "
            + (left if stored["ttl"] > 0 else over)
        )
        if stored["vary"]:
            yield f"varies by {', '.join(stored['vary'])}"
        yield _VERDICTS[stored["verdict"]]


_VERDICTS = {
    "fresh": "it answers the request: the backend hears nothing",
    "stale": "it answers the request, stale as the client allows: the backend hears nothing",
    "stale-while-revalidate": "it answers the request; a fresh copy is fetched meanwhile",
    "validate": "the backend is asked first whether it still holds",
}


def _pool(pool: Mapping[str, Any] | None, width: int) -> Iterator[str]:
    if pool is None:
        return
    yield f"{pool['name']}, {pool['balance']}; backends are {pool['states']}"
    if pool["panic"]:
        yield "too few are well: health is ignored"
    if pool["names"]:
        names = ", ".join(pool["names"])
        if pool["states"] == "as configured":
            yield f"names are not looked up; 192.0.2.1 stands for {names}"
        else:
            yield f"found by {names}"
    rows = []
    for one in pool["backends"]:
        marks = [one["state"], f"weight {one['weight']}"]
        marks += [f"priority {one['priority']}"] if one["priority"] else []
        marks += [] if one["candidate"] else ["no candidate"]
        chosen = "->" if one["name"] == pool["backend"] else ""
        rows.append((chosen, one["name"], ", ".join(marks)))
    yield from columns(rows, width - len(_INDENT))
    yield pool["why"]


def _answer(found: Mapping[str, Any]) -> Iterator[str]:
    answer = found["to_client"]
    if answer is None:
        return
    yield from _message(answer["bytes"])
    if answer["reason"]:
        yield f"(reason {answer['reason']})"


def _message(text: str) -> Iterator[str]:
    """A head, and what there is of a body."""
    for line in text.split("\r\n"):
        if line:
            yield from (line[:2000],) if "\n" not in line else line[:2000].split("\n")
