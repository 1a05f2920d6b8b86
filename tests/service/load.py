"""Clients that never stop asking, each in a thread, and the origin that they are led to.

For what has to go on while processes come and go: whatever fails is kept, with what it was doing.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

from tests.twistd import PATIENCE, connect

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
REQUEST = b"GET /load HTTP/1.1\r\nHost: localhost\r\n%b\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: echo\r\n"


class Origin:
    """Answers everything with ``hello``, and echoes after an upgrade."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        self._links: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                link, _ = self._socket.accept()
                self._links.append(link)
                threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with suppress(OSError), link:
            while head := _head(link):
                if b"upgrade: echo" in head.lower():
                    link.sendall(SWITCH)
                    while data := link.recv(65536):
                        link.sendall(data)
                    return
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    def close(self) -> None:
        for each in (self._socket, *self._links):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Load:
    """Lanes of clients. ``failures`` is what went wrong; ``count`` how often it went well."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.count = 0
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def kept(self, port: int) -> None:
        """One connection, request after request; a new one only when the response says close."""
        self._run("kept", lambda: self._kept(port))

    def new(self, port: int) -> None:
        """A connection for each request."""
        self._run("new", lambda: _get(connect(port), close=True))

    def tls(self, port: int) -> None:
        """The same over TLS."""
        rules = ssl.create_default_context()
        rules.check_hostname = False
        rules.verify_mode = ssl.CERT_NONE
        self._run("tls", lambda: _get(rules.wrap_socket(connect(port)), close=True))

    def tunnel(self, port: int) -> None:
        """An upgraded connection, echoing until the end."""
        self._run("tunnel", lambda: self._tunnel(port))

    def end(self) -> None:
        """Stop all lanes, and wait for what they are doing."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self, name: str, once: Callable[[], None]) -> None:
        def lane() -> None:
            while not self._over.is_set():
                try:
                    once()
                except Exception as error:
                    self.failures.append(f"{name}: {error!r}")
                else:
                    self.count += 1
                self._over.wait(0.005)

        thread = threading.Thread(target=lane, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _kept(self, port: int) -> None:
        with connect(port) as link:
            while not self._over.wait(0.005):
                link.sendall(REQUEST % b"")
                head = _response(link)
                self.count += 1
                if b"connection: close" in head.lower():
                    return

    def _tunnel(self, port: int) -> None:
        with connect(port) as link:
            link.sendall(REQUEST % UPGRADE)
            head = _head(link)
            if not head.startswith(b"HTTP/1.1 101"):
                raise AssertionError(head)
            while not self._over.wait(0.02):
                link.sendall(b"ping")
                if _exactly(link, 4) != b"ping":
                    raise AssertionError("the tunnel closed")


def _get(link: socket.socket, close: bool = False) -> None:
    with link:
        link.sendall(REQUEST % (b"Connection: close\r\n" if close else b""))
        _response(link)


def _response(link: socket.socket) -> bytes:
    head = _head(link)
    if not head.startswith(b"HTTP/1.1 200"):
        raise AssertionError(head or "closed without a response")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    if len(_exactly(link, length)) != length:
        raise AssertionError("the body is short")
    return head


def _head(link: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        piece = link.recv(1)
        if not piece:
            return b""
        data += piece
    return data


def _exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := link.recv(size - len(data))):
        data += piece
    return data
