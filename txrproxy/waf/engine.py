"""The engine: ModSecurity in a process of its own, which looks at one request after another.

It is started with two pipes for standard input and output and speaks :mod:`txrproxy.waf.wire` on
them. Nothing else of the proxy is in this process, so that a request which gets the better of a
parser here has won little::

    ◀─ rules, text, …                        what to load; the answer is one of
    ─▶ ready, JSON                           for each text the number of its rules
    ─▶ failed, JSON                          the place of the text, and what is wrong with it

    ◀─ request, number, set, client, method, target, version, id, whole, body, name, value, …
    ◀─ response, the same without whole and body, status, body, name, value, …
    ─▶ number, JSON                          the verdict; empty: nothing matched

ModSecurity holds the interpreter's lock while it works, so that a second thread would only slow the
first: more of it means more processes. Its ``load`` does not raise, it returns -1; and texts of a
match are bytes of the client's, which need not be UTF-8 and then raise where they are read.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, BinaryIO

from txrproxy.waf import wire
from txrproxy.waf.rules import CUT, HINT, UNREADABLE

MAX_VALUE = 512
"""Characters of a matched value that are told."""

MAX_MATCHES = 64
"""Matches that are told of one request."""

MEMORY = 512 * 1024 * 1024
"""Bytes that an engine may take beyond its rules; one that wants more ends, and another begins."""

_SCORE = re.compile(r"Total (?:Inbound |Outbound )?Score: (\d+)")
_AGAINST = re.compile(r"against variable `(.*?)' \(Value: `(.*)' \)", re.DOTALL)
_WITHIN = re.compile(r"found within ([^\s:]+(?::[^\s:]+)?): ?(.*)", re.DOTALL)
_POINTS = {0: 5, 1: 5, 2: 5, 3: 4, 4: 3, 5: 2}  # what the CRS gives for a severity, by default
_EVALUATION = ("949", "959", "980")  # CRS rules that sum up and match nothing of their own


class BadRules(Exception):
    """A text that does not load."""


class Engine:
    """ModSecurity with rule sets, by their number. Raises :class:`BadRules`."""

    def __init__(self, texts: Iterable[str]) -> None:
        libmodsecurity: Any = import_module("libmodsecurity")
        self._make = libmodsecurity.Transaction
        self._engine = libmodsecurity.ModSecurity()
        self._engine.set_log_callback(_ignore)
        self._sets = []
        self.counts: list[int] = []
        for index, text in enumerate(texts):
            rules = libmodsecurity.RulesSet()
            count = rules.load(text)
            if count < 0:
                raise BadRules(index, " ".join(rules.get_parser_error().split()))
            self._sets.append(rules)
            self.counts.append(count)
        self._open: Any = None

    def request(self, parts: Sequence[bytes]) -> bytes:
        """The verdict on a request."""
        index, client, method, target, version, request_id, whole, body, *fields = parts
        transaction = self._begin(index, client, method, target, version, request_id)
        typed = False
        for at in range(0, len(fields), 2):
            transaction.add_request_header(fields[at], fields[at + 1])
            typed = typed or fields[at].lower() == b"content-type"
        if body and not typed and (likely := guess(body, whole == b"1")):
            transaction.add_request_header(HINT.encode(), likely.encode())
        transaction.process_request_headers()
        stopped = _stopped(transaction)
        if not stopped:
            if body:
                transaction.append_request_body(body)
            transaction.process_request_body()
            stopped = _stopped(transaction)
        return _verdict(transaction.get_rule_messages(), stopped, whole == b"1")

    def response(self, parts: Sequence[bytes]) -> bytes:
        """The verdict on a response. Rules for it refer to what the first phase set."""
        index, client, method, target, version, request_id, status, body, *fields = parts
        transaction = self._begin(index, client, method, target, version, request_id)
        transaction.process_request_headers()
        before = len(transaction.get_rule_messages())
        for at in range(0, len(fields), 2):
            transaction.add_response_header(fields[at], fields[at + 1])
        transaction.process_response_headers(int(status), "HTTP/" + version.decode("ascii"))
        stopped = _stopped(transaction)
        if body and not stopped:
            transaction.append_response_body(body)
        if not stopped:
            transaction.process_response_body()
            stopped = _stopped(transaction)
        return _verdict(transaction.get_rule_messages()[before:], stopped, True)

    def _begin(
        self,
        index: bytes,
        client: bytes,
        method: bytes,
        target: bytes,
        version: bytes,
        request_id: bytes,
    ) -> Any:
        transaction = self._make(self._engine, self._sets[int(index)], request_id)
        self._open = transaction
        transaction.process_connection(client, 0, "127.0.0.1", 0)
        transaction.process_uri(target, method, version)
        return transaction

    def end(self) -> None:
        """The last phase of what was looked at: rules that only count."""
        transaction, self._open = self._open, None
        if transaction is not None:
            transaction.process_logging()


def guess(body: bytes, whole: bool) -> str:
    """How to take a body apart without a Content-Type: as "json", as a "form", or not at all.

    Many backends read JSON without asking for one, so leaving it out must not hide a body. What is
    no text is left alone: it would be blocked for its bytes.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        if whole or error.start < len(body) - 3:
            return ""
        text = body[: error.start].decode()
    if "\0" in text:
        return ""
    if not text.lstrip().startswith(("{", "[")):
        return "form"
    try:
        json.loads(text)
    except ValueError:
        return "form" if whole else "json"
    except RecursionError:
        pass
    return "json"


def _stopped(transaction: Any) -> bool:
    intervention = transaction.intervention()
    return intervention is not None and intervention.disruptive


def _verdict(messages: Sequence[Any], stopped: bool, whole: bool) -> bytes:
    """What is told of the matches; empty when there are none."""
    if not messages and not stopped:
        return b""
    matches: list[dict[str, Any]] = []
    points = 0
    total = None
    for message in messages:
        rule = message.rule_id
        if rule in UNREADABLE and (whole or rule not in CUT):
            stopped = True
        text = _text(message, "message")
        if found := _SCORE.search(text):
            total = max(total or 0, int(found[1]))
        if not str(rule).startswith(_EVALUATION):
            points += _POINTS.get(message.severity, 0)
        if len(matches) < MAX_MATCHES:
            matches.append(_match(message, rule, text))
    score = points if total is None else total
    told = {"blocked": stopped, "score": score, "matches": matches}
    return json.dumps(told, separators=(",", ":")).encode()


def _match(message: Any, rule: int, text: str) -> dict[str, Any]:
    data = _text(message, "data")
    found = _AGAINST.search(_text(message, "match")) or _WITHIN.search(data)
    variable, value = (found[1], found[2]) if found else ("", data)
    return {
        "id": rule,
        "message": text,
        "severity": message.severity,
        "tags": [tag for tag in _tags(message) if tag.startswith("attack-")],
        "file": os.path.basename(_text(message, "file")),
        "line": message.line,
        "variable": variable,
        "value": value[:MAX_VALUE],
    }


def _text(message: Any, name: str) -> str:
    try:
        return str(getattr(message, name))
    except UnicodeDecodeError as error:
        return error.object.decode("utf-8", "backslashreplace")


def _tags(message: Any) -> list[str]:
    try:
        return list(message.tags)
    except UnicodeDecodeError:
        return []


def _ignore(line: str) -> None:
    """ModSecurity prints its log where nobody takes it."""


def serve(source: BinaryIO, sink: BinaryIO, loaded: Callable[[], None] = lambda: None) -> None:
    """Load the rules that are asked for, and give verdicts until the other side is gone."""

    def tell(*parts: bytes) -> None:
        sink.write(wire.pack(parts))
        sink.flush()

    first = wire.read(source)
    if first is None:
        return
    try:
        engine = Engine(text.decode() for text in first[1:])
    except BadRules as error:
        tell(b"failed", json.dumps(error.args).encode())
        return
    except ImportError as error:
        tell(b"failed", json.dumps((-1, str(error))).encode())
        return
    gc.freeze()
    loaded()
    tell(b"ready", json.dumps(engine.counts).encode())
    kinds = {b"request": engine.request, b"response": engine.response}
    while (message := wire.read(source)) is not None:
        kind, number, *parts = message
        tell(number, kinds[kind](parts))
        engine.end()


def confine() -> None:
    """All that is needed is loaded: from here on no files, and no memory without end."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        size = int(stream.read().split()[0]) * resource.getpagesize()
    for what, limit in (
        (resource.RLIMIT_AS, size + MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        _, most = resource.getrlimit(what)
        if most == resource.RLIM_INFINITY or limit < most:
            resource.setrlimit(what, (limit, limit))


def main() -> None:
    """Serve on standard input and output; whatever else prints, prints nowhere."""
    prctl = ctypes.CDLL(None).prctl
    prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: never without the proxy
    prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's, meant for the proxy
    sys.unraisablehook = lambda _: None  # log lines that are not UTF-8, on their way to nobody
    sys.stderr = os.fdopen(os.dup(2), "w")  # for a traceback of ours; not for libraries
    nowhere = os.open(os.devnull, os.O_RDWR)
    with os.fdopen(os.dup(0), "rb") as source, os.fdopen(os.dup(1), "wb") as sink:
        for fd in range(3):
            os.dup2(nowhere, fd)
        serve(source, sink, confine)


if __name__ == "__main__":
    main()
