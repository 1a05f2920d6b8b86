"""The load: wrk, h2load and openssl s_time, connections held idle, one request looked at closely.

The generators count; they do not look at what they get. So each measured run begins with
:func:`verify`, which takes the answer apart once.
"""

from __future__ import annotations

import re
import resource
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.process import LOAD_CORE, on_core

_SCRIPT = Path(__file__).with_name("wrk.lua")
_OPEN_SECONDS = 120  # for all idle connections together
_GRACE_SECONDS = 30  # beyond the asked time, before a generator counts as stuck

# What a browser sends with a navigation; wrk adds Host and makes it 13 fields.
BROWSER = {
    "User-Agent": (
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 Benchmark/1.0"
    ),
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.7",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Cache-Control": "max-age=0",
    "Cookie": "session=6f1d0c5b9a8e47d2b3; theme=dark; visits=17",
    "Priority": "u=0, i",
    "Referer": "https://www.example.org/articles/2025/",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Upgrade-Insecure-Requests": "1",
}
BARE = {"Accept": "*/*"}

# What OpenSSL's clients and all subjects settle on; a cheaper cipher would be an unfair advantage.
TLS_VERSION = "TLSv1.3"
TLS_CIPHER = "TLS_AES_256_GCM_SHA384"
_S_TIME_VERSIONS = {
    "1.2": ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    "1.3": ("-tls1_3", "-ciphersuites", TLS_CIPHER),
}


class LoadError(Exception):
    """The load could not be driven, or the answer is not what the origin holds."""


@dataclass(frozen=True)
class Result:
    """What a generator saw. Latencies in milliseconds; ``errors`` holds only counts above 0."""

    requests: int
    seconds: float
    p50_ms: float | None = None  # h2load reports no percentiles
    p99_ms: float | None = None
    errors: Mapping[str, int] = field(default_factory=dict)


def wrk(
    url: str, seconds: int, *, headers: Mapping[str, str], connections: int, script: str = "same"
) -> Result:
    """Keep ``connections`` busy with one request each; ``script`` is a mode of ``wrk.lua``."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += [*_header_options(headers), "-s", str(_SCRIPT), url, "--", script]
    return parse_wrk(_run(command, seconds))


def h2load(
    url: str, seconds: int, *, headers: Mapping[str, str], connections: int, inflight: int
) -> Result:
    """HTTP/1.1 with ``inflight`` requests pipelined on each of ``connections``."""
    command = ["h2load", "--h1", "-t1", f"-c{connections}", f"-m{inflight}", f"-D{seconds}"]
    return parse_h2load(_run([*command, *_header_options(headers), url], seconds), seconds)


def s_time(
    url: str, seconds: int, *, resumed: bool = False, version: str = "1.3", asking: int = 0
) -> Result:
    """TLS connections one after another, each a full handshake or each ``resumed``.

    ``asking`` is the size of the body at ``url`` where every connection is to make one request; 0
    is for those that only shake hands. A TLS 1.3 client gets its ticket after the handshake, with
    what it reads: so it resumes only where it asks.
    """
    parts = urlsplit(url)
    command = ["openssl", "s_time", "-connect", parts.netloc, "-time", str(seconds)]
    command += ["-reuse" if resumed else "-new", *_S_TIME_VERSIONS[version]]
    if asking:
        # s_time asks in HTTP/1.0 and without a Host; what it makes a line of can be more lines.
        head = ("HTTP/1.1", f"Host: {parts.netloc}", "Connection: close", "X-Rest:")
        command += ["-www", f"{parts.path} " + "\r\n".join(head)]
    begun = time.monotonic()
    text = _run(command, seconds)
    return parse_s_time(text, time.monotonic() - begun, resumed=resumed, asking=asking)


def parse_s_time(text: str, seconds: float, *, resumed: bool, asking: int) -> Result:
    """Read s_time's report; its ``requests`` are connections.

    It draws one sign for each connection, ``r`` where a session was resumed. Connections of the
    other kind, and answers too short to hold ``asking`` bytes, are errors. Raises
    :exc:`LoadError` on any other text, which is also how s_time ends when a connection fails.
    """
    counts = re.search(r"^(\d+) connections in .*bytes read (\d+)$", text, re.MULTILINE)
    signs = re.search(r"^([*tur3]*)\n+\d+ connections in ", text, re.MULTILINE)
    if counts is None or signs is None:
        raise LoadError(f"no report from s_time: {text[-300:].strip()}")
    connections, received = map(int, counts.groups())
    wrong = len(signs[1]) - signs[1].count("r") if resumed else signs[1].count("r")
    missing = connections * asking - received
    found = {
        "not resumed" if resumed else "resumed": wrong,
        "short": -(-missing // asking) if asking and missing > 0 else 0,
    }
    return Result(connections, seconds, errors={kind: n for kind, n in found.items() if n})


def parse_wrk(text: str) -> Result:
    """Read the line that ``wrk.lua`` prints. Raises :exc:`LoadError` when there is none."""
    line = re.search(r"^summary (.+)$", text, re.MULTILINE)
    if line is None:
        raise LoadError(f"no summary from wrk: {text[-300:].strip()}")
    values = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line[1])}
    kinds = ("connect", "read", "write", "timeout", "status")
    return Result(
        requests=values["requests"],
        seconds=values["duration_us"] / 1e6,
        p50_ms=values["p50_us"] / 1e3,
        p99_ms=values["p99_us"] / 1e3,
        errors={kind: values[kind] for kind in kinds if values[kind]},
    )


def parse_h2load(text: str, seconds: float) -> Result:
    """Read h2load's report of a run of ``seconds``. Raises :exc:`LoadError` on any other text."""
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    statuses = re.search(r"(\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    if counts is None or statuses is None:
        raise LoadError(f"no report from h2load: {text[-300:].strip()}")
    succeeded, failed, errored, timeout = map(int, counts.groups())
    unwanted = sum(map(int, statuses.groups()[1:]))
    # A failed request is one that errored or timed out, or got a 4xx or 5xx: count each once.
    found = {"errored": errored, "timeout": timeout, "status": unwanted}
    if not any(found.values()):
        found["failed"] = failed
    return Result(succeeded, seconds, errors={kind: n for kind, n in found.items() if n})


def verify(
    port: int,
    path: str,
    want: bytes,
    *,
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
    patience: float = 10.0,
) -> None:
    """One request whose answer must be 200 with the bytes ``want``, else :exc:`LoadError`.

    Without it, a proxy that answers everything with a quick redirect would look fast. Repeated
    for ``patience`` seconds, as some proxies listen before they know their routes. With ``tls`` the
    certificate must be valid, and version and cipher those of everyone.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            _verify_once(port, path, want, body, tls)
        except LoadError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def _verify_once(
    port: int, path: str, want: bytes, body: bytes | None, tls: ssl.SSLContext | None
) -> None:
    connection = (
        HTTPSConnection("127.0.0.1", port, timeout=10, context=tls)
        if tls
        else HTTPConnection("127.0.0.1", port, timeout=10)
    )
    try:
        connection.connect()
        if isinstance(connection.sock, ssl.SSLSocket):
            _verify_cipher(connection.sock)
        connection.request("GET" if body is None else "POST", path, body=body, headers=BROWSER)
        response = connection.getresponse()
        got = response.read()
    except (OSError, HTTPException) as error:
        raise LoadError(f"first request: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200 or got != want:
        raise LoadError(f"first request: status {response.status}, {len(got)} bytes")


def _verify_cipher(connection: ssl.SSLSocket) -> None:
    cipher = connection.cipher()
    spoken = connection.version(), cipher[0] if cipher else None
    if spoken != (TLS_VERSION, TLS_CIPHER):
        raise LoadError(f"first request: {spoken}, not {TLS_VERSION} with {TLS_CIPHER}")


@contextmanager
def held_connections(
    port: int, path: str, count: int, tls: ssl.SSLContext | None = None
) -> Iterator[list[socket.socket]]:
    """Open ``count`` keep-alive connections, make one request on each, and keep them idle."""
    _raise_file_limit(count + 200)
    deadline = time.monotonic() + _OPEN_SECONDS
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    request = (head + "".join(f"{k}: {v}\r\n" for k, v in BROWSER.items()) + "\r\n").encode()
    with ExitStack() as stack:
        held = []
        for number in range(count):
            if time.monotonic() > deadline:
                raise LoadError(f"{number} of {count} connections after {_OPEN_SECONDS} s")
            try:
                connection = socket.create_connection(("127.0.0.1", port), 10)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as browsers do
                if tls:
                    connection = tls.wrap_socket(connection, server_hostname="localhost")
                held.append(stack.enter_context(connection))
                connection.sendall(request)
                _read_response(connection)
            except OSError as error:
                raise LoadError(f"connection {number + 1} of {count}: {error}") from error
        yield held


def closed(connections: Sequence[socket.socket]) -> int:
    """How many of the idle connections the other side has closed, or sent bytes on unasked."""
    gone = 0
    for connection in connections:
        try:
            connection.setblocking(False)
            connection.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            continue
        except OSError:
            pass
        gone += 1
    return gone


def _read_response(connection: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _receive(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length:[ \t]*(\d+)", head, re.IGNORECASE)
    if not head.startswith(b"HTTP/1.1 200") or length is None:
        raise OSError(f"unexpected response: {head[:60]!r}")
    missing = int(length[1]) - len(body)
    while missing > 0:
        missing -= len(_receive(connection))


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise OSError("closed in the middle of a response")
    return data


def _raise_file_limit(need: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < need:
        raise LoadError(f"{need} open files are needed and {hard} allowed: see ulimit -n")
    if soft < need:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))


def _header_options(headers: Mapping[str, str]) -> list[str]:
    return [option for name, value in headers.items() for option in ("-H", f"{name}: {value}")]


def _run(command: Sequence[str], seconds: float) -> str:
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            on_core(LOAD_CORE, command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds + _GRACE_SECONDS,
            check=False,
        )
        return done.stdout
    raise LoadError(f"{command[0]} was still running {_GRACE_SECONDS} s after its time")
