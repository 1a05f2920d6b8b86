"""Records of finished exchanges, and how a batch of them becomes log lines.

A record is a plain tuple, a :data:`Record`, because building one is all that the data path pays.
Whole batches are rendered later, by the functions made here.

Nothing a client sends can end a line early, add a second one or make JSON invalid: every byte
string goes through a quoting function that leaves printable ASCII only. Bytes are read as
Latin-1, so each line still says exactly which bytes arrived: ``\\u00e9`` in JSON and ``\\xE9`` in
the combined format are the byte 0xE9.

Most values (hosts, routes, user agents) come again and again, so finished pieces of a line, label
and all, are remembered in bounded memos; only what is new in each request is quoted each time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from json.encoder import encode_basestring_ascii
from time import gmtime, strftime
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from txrproxy.http.peer import Way

Record = tuple[
    float,  # time         when the request arrived, Unix seconds
    bytes,  # client       address of the client, as text
    bytes,  # method       empty when no request line could be read
    bytes,  # target       as received, byte for byte
    bytes,  # version      b"1.1"
    bytes,  # host
    int,  # status         0: nothing was sent
    int,  # bytes_in       content of the request body
    int,  # bytes_out      bytes of the response after its head, chunk sizes included
    bytes,  # route        name; empty when none matched
    bytes,  # pool         name; empty when none was used
    bytes,  # backend      address; empty when none was used
    float | None,  # connect     seconds to connect; None: a kept-alive connection, or no backend
    float | None,  # first_byte  seconds from arrival to the backend's response; None: no response
    float,  # total        seconds from arrival to the end of the exchange
    bytes,  # reason       ``Reason.log_name``
    bytes,  # request_id
    bytes,  # user_agent   empty when absent
    bytes,  # referer      empty when absent
    Way,  # way            how the client was connected
    tuple[tuple[bytes, bytes], ...],  # notes   what else there is to say: names with values
]

FIELDS = (
    "time",  # when the request arrived: RFC 3339, UTC, milliseconds
    "client",
    "listener",  # its name in the configuration
    "scheme",  # of the connection: "http", or "https" if it speaks TLS
    "method",
    "version",
    "host",
    "target",
    "status",
    "route",
    "pool",
    "backend",
    "reason",
    "bytes_in",
    "bytes_out",
    "connect_ms",  # milliseconds with three decimals, or null
    "first_byte_ms",  # milliseconds with three decimals, or null
    "total_ms",  # milliseconds with three decimals
    "request_id",
    "user_agent",
    "referer",
)
"""The keys of a JSON line, in their order; all are always present."""

OF_TLS = ("tls", "sni")
"""They follow ``scheme`` where there was a handshake: such as "TLSv1.3", and the name asked for.

One that failed has the name alone, if it is known."""

NOTES = (
    "user",  # who it is, by basic_auth, a JWT or forward_auth
    "client_cert",  # the subject of the TLS certificate that the client has shown
    "client_cert_san",  # its alternative names
    "client_cert_fingerprint",  # its SHA-256
    "cache",  # what a cache did
    "tries",  # the backends that failed the request before it ended, each with how
)
"""The keys that are written, last, where there is something to say."""

Formatter = Callable[[Iterable[Record]], bytes]
"""Renders records as whole lines, each with its newline."""

_MEMO_ENTRIES = 1024
_MEMO_LENGTH = 512
_REDACT_PARAMETERS = 256
_MILLISECONDS = tuple(f"{number:03d}" for number in range(1000))
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_Key = TypeVar("_Key")


class _Memo(dict[_Key, str]):
    """Finished text by what it was made of, bounded in the number and length of its texts."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[_Key], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: _Key) -> str:
        text = self._make(key)
        if len(text) <= _MEMO_LENGTH:
            if len(self) >= _MEMO_ENTRIES:
                self.clear()
            self[key] = text
        return text


def json_formatter(redact: Sequence[str] = ()) -> Formatter:
    """One JSON object a line, with the keys of :data:`FIELDS`.

    ``redact`` is as in :func:`redactor`.
    """
    quote = encode_basestring_ascii  # in C; always valid JSON, always ASCII
    clean = redactor(redact) if redact else None

    def text(raw: bytes) -> str:
        return quote(raw.decode("latin-1"))

    def arrival(way: Way) -> str:
        listener, scheme, version, name = map(text, way)
        tls = f',"tls":{version}' if way[2] else ""
        sni = f',"sni":{name}' if way[2] or way[3] else ""
        return f',"listener":{listener},"scheme":{scheme}{tls}{sni}'

    def request(key: tuple[bytes, bytes, bytes]) -> str:
        method, version, host = map(text, key)
        return f',"method":{method},"version":{version},"host":{host},"target":'

    def outcome(key: tuple[int, bytes, bytes, bytes, bytes]) -> str:
        status, *names = key
        route, pool, backend, reason = map(text, names)
        return (
            f',"status":{status},"route":{route},"pool":{pool},"backend":{backend}'
            f',"reason":{reason}'
        )

    def link(raw: bytes) -> str:
        return f',"referer":{text(clean(raw) if clean else raw)}'

    def rest(pairs: tuple[tuple[bytes, bytes], ...]) -> str:
        return "".join(f",{text(name)}:{text(value)}" for name, value in pairs) + "}\n"

    clients = _Memo[bytes](text)
    ways = _Memo[Way](arrival)
    requests = _Memo[tuple[bytes, bytes, bytes]](request)
    outcomes = _Memo[tuple[int, bytes, bytes, bytes, bytes]](outcome)
    agents = _Memo[bytes](lambda raw: f',"user_agent":{text(raw)}')
    referers = _Memo[bytes](link)
    endings = _Memo[tuple[tuple[bytes, bytes], ...]](rest)
    second = -1
    prefix = ""

    def render(records: Iterable[Record]) -> bytes:
        nonlocal second, prefix
        last = -1.0
        stamp = ""
        lines: list[str] = []
        add = lines.append
        for (
            time,
            client,
            method,
            target,
            version,
            host,
            status,
            bytes_in,
            bytes_out,
            route,
            pool,
            backend,
            connect,
            first_byte,
            total,
            reason,
            request_id,
            user_agent,
            referer,
            way,
            notes,
        ) in records:
            if time != last:  # the clock is coarse: neighbours often share one reading
                last = time
                if not 0 <= time - second < 1:
                    second = int(time)
                    prefix = strftime('{"time":"%Y-%m-%dT%H:%M:%S.', gmtime(second))
                stamp = f'{prefix}{_MILLISECONDS[int((time - second) * 1000)]}Z","client":'
            if clean is not None:
                target = clean(target)  # noqa: PLW2901
            add(
                f"{stamp}{clients[client]}{ways[way]}"
                f"{requests[method, version, host]}{quote(target.decode('latin-1'))}"
                f"{outcomes[status, route, pool, backend, reason]}"
                f',"bytes_in":{bytes_in},"bytes_out":{bytes_out}'
                f',"connect_ms":{"null" if connect is None else "%.3f" % (connect * 1e3)}'
                f',"first_byte_ms":{"null" if first_byte is None else "%.3f" % (first_byte * 1e3)}'
                f',"total_ms":{"%.3f" % (total * 1e3)}'
                f',"request_id":{quote(request_id.decode("latin-1"))}'
                f"{agents[user_agent]}{referers[referer]}{endings[notes]}"
            )
        return "".join(lines).encode("ascii")

    return render


def combined_formatter(redact: Sequence[str] = ()) -> Formatter:
    """The NCSA combined format: ``client - user [time] "request" status bytes "referer" "agent"``.

    Quotes, backslashes and all bytes outside printable ASCII become ``\\xHH``, so a quoted field
    never contains a quote, and an empty one is ``-``. ``redact`` is as in :func:`redactor`.
    """
    clean = redactor(redact) if redact else None
    plain = _Memo(_quote_combined)
    referers = _Memo[bytes](lambda raw: _quote_combined(clean(raw) if clean else raw))
    users = _Memo[tuple[tuple[bytes, bytes], ...]](_user_combined)
    second = -1
    stamp = ""

    def render(records: Iterable[Record]) -> bytes:
        nonlocal second, stamp
        lines: list[str] = []
        for (
            time,
            client,
            method,
            target,
            version,
            _,
            status,
            _,
            sent,
            *_,
            agent,
            referer,
            _,
            notes,
        ) in records:
            if int(time) != second:
                second = int(time)
                at = gmtime(second)  # the month is English whatever the locale
                stamp = strftime(f"%d/{_MONTHS[at.tm_mon - 1]}/%Y:%H:%M:%S +0000", at)
            if method:
                path = _quote_combined(clean(target) if clean else target)
                request = f"{plain[method]} {path} HTTP/{plain[version]}"
            else:
                request = "-"
            user = users[notes] if notes else "-"
            lines.append(
                f'{plain[client]} - {user} [{stamp}] "{request}" {status} {sent}'
                f' "{referers[referer]}" "{plain[agent]}"\n'
            )
        return "".join(lines).encode("ascii")

    return render


_unsafe = re.compile(r"[^ !#-\[\]-~]")


def _quote_combined(raw: bytes) -> str:
    text = raw.decode("latin-1")
    return _unsafe.sub(lambda found: f"\\x{ord(found[0]):02X}", text) or "-"


def _user_combined(notes: tuple[tuple[bytes, bytes], ...]) -> str:
    """The user without quotes around it: a blank would look like the end."""
    return _quote_combined(dict(notes).get(b"user", b"")).replace(" ", "\\x20")


def redactor(names: Sequence[str]) -> Callable[[bytes], bytes]:
    """A function that replaces the values of query parameters with ``***``.

    ``names`` are parameter names without regard to case. What is sent percent-encoded is compared
    decoded, and both ``&`` and ``;`` may separate parameters. In doubt more is hidden, not less: a
    value reaches to the next ``&``, whatever stands in between, and a query of more than 256
    parameters that needs a close look goes as a whole.
    """
    hidden = {name.lower().encode("utf-8") for name in names}
    literal = b"|".join(map(re.escape, hidden))
    # Most targets hold none of the names, and no name that is encoded: one search tells.
    suspect = re.compile(rb"(?i)[?&;](?:(?:%b)=|[^=&;?]*[%%+])" % literal).search

    def redact(target: bytes) -> bytes:
        if suspect(target) is None:
            return target
        path, _, query = target.partition(b"?")
        if query.count(b"&") + query.count(b";") >= _REDACT_PARAMETERS:
            return path + b"?***"
        return path + b"?" + b"&".join(map(parameter, query.split(b"&")))

    def parameter(text: bytes) -> bytes:
        start = 0
        while True:
            end = text.find(b";", start)
            name, found, _ = text[start : end if end >= 0 else None].partition(b"=")
            if found and unquote_to_bytes(name.replace(b"+", b" ")).lower() in hidden:
                return text[: start + len(name)] + b"=***"
            if end < 0:
                return text
            start = end + 1

    return redact
