"""The servers behind the proxies: one nginx on two ports, or this file where nginx is missing.

Both serve the files of one folder under / and under /rNNNNN/ (the paths of the routes cases), and
answer POST /upload with "ok" once the whole body has arrived.

On its own: ``python origin.py FOLDER PORT...``.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BODIES = {"/1k": b"0123456789abcdef" * 64, "/1m": os.urandom(1 << 20)}
UPLOADED = b"ok"

_NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; {user}
events {{ worker_connections 16384; }}
http {{
  access_log off; sendfile on; tcp_nopush on; default_type text/plain;
  keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  open_file_cache max=100;
  server {{
    {listen}
    root {folder}/www;
    location /r {{ rewrite "^/r\\d+(/.*)$" $1 break; }}
    # nginx reads a body to its end only when it is to pass the request on.
    location = /upload {{
      client_body_buffer_size 128k; client_max_body_size 1m;
      proxy_pass_request_body off; proxy_set_header Content-Length "";
      proxy_pass http://unix:{folder}/sink;
    }}
  }}
  server {{ listen unix:{folder}/sink; return 200 "ok"; }}
}}
"""


@contextmanager
def origin(folder: Path, ports: tuple[int, ...], nginx: str | None) -> Iterator[None]:
    """Serve :data:`BODIES` on ``ports`` until the block ends."""
    from benchmarks.process import LOAD_CORE, running  # not when run on its own

    (folder / "www").mkdir(parents=True)
    for name, body in BODIES.items():
        (folder / "www" / name[1:]).write_bytes(body)
    if nginx is None:
        command = [sys.executable, __file__, str(folder / "www"), *map(str, ports)]
    else:
        listen = " ".join(f"listen 127.0.0.1:{port} backlog=4096;" for port in ports)
        user = "user root;" if os.geteuid() == 0 else ""  # the folder may be private
        text = _NGINX.format(folder=folder, listen=listen, user=user)
        (folder / "nginx.conf").write_text(text)
        command = [nginx, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with running(command, ports=ports, core=LOAD_CORE, folder=folder):
        yield


class _Server(asyncio.Protocol):
    """Just enough HTTP/1.1 for the load: GET, and POST with a Content-Length."""

    def __init__(self, bodies: dict[bytes, bytes]) -> None:
        self._bodies = bodies
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            size = int(length[1]) if length else 0
            if not end or len(rest) < size:
                return
            self._received = rest[size:]
            self._answer(*head.split(b" ", 2)[:2])

    def _answer(self, method: bytes, target: bytes) -> None:
        path = re.sub(rb"^/r\d+(?=/)", b"", target.partition(b"?")[0])
        body = UPLOADED if method == b"POST" else self._bodies.get(path)
        status, body = (b"200 OK", body) if body is not None else (b"404 Not Found", b"")
        head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        self._transport.write(head + body)


async def _serve(folder: Path, ports: list[int]) -> None:
    bodies = {b"/" + file.name.encode(): file.read_bytes() for file in folder.iterdir()}
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(lambda: _Server(bodies), "127.0.0.1", port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
