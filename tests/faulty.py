"""A backend that does what it is told, as a process: ``python tests/faulty.py PORT NAME``.

``GET /mode/MODE`` changes what it does from then on, and passes through no proxy::

    ok            200, and as the body its name, a space, and the body of the request
    slow SECONDS  the same, after a while
    500, 503      that status
    reset         closes the connection without a word, with RST
    cut           begins a response and closes the connection in the middle of the body
    silent        never answers

``GET /healthz`` is answered with 200 in every mode: a health check knows nothing of the rest. The
port is shared with who reserved it, so that nobody else has it while this process is dead.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys


class Faulty(asyncio.Protocol):
    mode = "ok"
    delay = 0.0
    name = b""
    transport: asyncio.Transport

    def __init__(self) -> None:
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        _, found, length = head.lower().partition(b"\ncontent-length:")
        size = int(length.split(b"\r")[0]) if found else 0
        if len(body) >= size:
            self._data = body[size:]
            self._asked(head.split(b" ")[1].decode(), body[:size])

    def _asked(self, path: str, body: bytes) -> None:
        if path.startswith("/mode/"):
            Faulty.mode, _, delay = path[len("/mode/") :].partition("/")
            Faulty.delay = float(delay or 0)
            self._answer(200, b"")
        elif path == "/healthz":
            self._answer(200, b"well")
        elif self.mode == "slow":
            asyncio.get_running_loop().call_later(self.delay, self._answer, 200, body)
        elif self.mode == "ok":
            self._answer(200, body)
        elif self.mode == "reset":
            self._reset()
        elif self.mode == "cut":
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            self.transport.close()
        elif self.mode != "silent":
            self._answer(int(self.mode), body)

    def _answer(self, status: int, body: bytes) -> None:
        body = self.name + b" " + body
        head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        self.transport.write(head + body)

    def _reset(self) -> None:
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


async def main(port: int, name: str) -> None:
    Faulty.name = name.encode()
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    server = await asyncio.get_running_loop().create_server(Faulty, sock=bound, backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
