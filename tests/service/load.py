"""Clients that never stop asking, each in a thread, and the origin that they are led to.

For what has to go on while processes come and go: whatever fails is kept, with what it was doing.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress

from tests.twistd import PATIENCE, connect, wait_until
from txrproxy.demo_websocket import CLOSE, TEXT, accept_key, frame

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
REQUEST = b"GET /load HTTP/1.1\r\nHost: localhost\r\n%b\r\n"
END = b"\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: echo\r\n"
WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n"
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)


class Origin:
    """Answers everything with ``hello``, and echoes after an upgrade, WebSocket frames as well."""

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
                if key := _field(head, b"sec-websocket-key"):
                    link.sendall(ACCEPTED % accept_key(key))
                    while received := _frame(link):
                        link.sendall(frame(*received))
                    return
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    def close(self) -> None:
        for each in (self._socket, *self._links):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Load:
    """Lanes of clients. ``failures`` is what went wrong; ``count`` how often it went well.

    ``retried`` is what went wrong for those who try again, ``upgraded`` counts the connections that
    became tunnels.
    """

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.retried: list[str] = []
        self.upgraded = 0
        self.count = 0
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._rules = ssl.create_default_context()
        self._rules.check_hostname = False
        self._rules.verify_mode = ssl.CERT_NONE

    def kept(self, port: int, tls: bool = False) -> None:
        """One connection, request after request; a new one only when the response says close."""
        self._run("kept tls" if tls else "kept", lambda: self._kept(self._connect(port, tls)))

    def new(self, port: int) -> None:
        """A connection for each request."""
        self._run("new", lambda: _get(connect(port), close=True))

    def tls(self, port: int) -> None:
        """The same over TLS."""
        self._run("tls", lambda: _get(self._connect(port, True), close=True))

    def tunnel(self, port: int) -> None:
        """An upgraded connection, echoing until the end."""
        self._run("tunnel", lambda: self._tunnel(port))

    def websocket(self, port: int, tls: bool = False) -> None:
        """A WebSocket, echoing messages until the end, and closed by this side alone."""
        self._run("wss" if tls else "ws", lambda: self._websocket(self._connect(port, tls)))

    def retrying(self, port: int, tls: bool = False) -> None:
        """A connection for each request, which is asked again, twice at most, if that fails."""
        self._run("retrying", lambda: self._try(port, tls))

    def everything(self, port: int, tls_port: int) -> None:
        """A lane of each kind."""
        self.kept(port)
        self.kept(tls_port, tls=True)
        self.new(port)
        self.tls(tls_port)
        self.tunnel(port)
        self.websocket(port)
        self.websocket(tls_port, tls=True)

    def more(self, count: int) -> None:
        """Wait until so many more went well."""
        enough = self.count + count
        wait_until(lambda: self.count >= enough)

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

    def _connect(self, port: int, tls: bool) -> socket.socket:
        link = connect(port)
        return self._rules.wrap_socket(link) if tls else link

    def _try(self, port: int, tls: bool, again: int = 2) -> None:
        try:
            _get(self._connect(port, tls), close=True)
        except (OSError, AssertionError) as error:
            if not again:
                raise
            self.retried.append(repr(error))
            self._try(port, tls, again - 1)

    def _kept(self, link: socket.socket) -> None:
        with link:
            while not self._over.wait(0.005):
                link.sendall(REQUEST % b"")
                head = response(link)
                self.count += 1
                if b"connection: close" in head.lower():
                    return

    def _tunnel(self, port: int) -> None:
        with connect(port) as link:
            link.sendall(REQUEST % UPGRADE)
            head = _head(link)
            if not head.startswith(b"HTTP/1.1 101"):
                raise AssertionError(head)
            self.upgraded += 1
            while not self._over.wait(0.02):
                link.sendall(b"ping")
                if _exactly(link, 4) != b"ping":
                    raise AssertionError("the tunnel closed")

    def _websocket(self, link: socket.socket) -> None:
        key = b64encode(os.urandom(16))
        with link:
            link.sendall(REQUEST % (WEBSOCKET % key))
            if _field(head := _head(link), b"sec-websocket-accept") != accept_key(key):
                raise AssertionError(head or "closed without a response")
            self.upgraded += 1
            number = 0
            while not self._over.wait(0.02):
                number += 1
                text = b"message %d" % number
                link.sendall(_masked(TEXT, text))
                if (received := _frame(link)) != (TEXT, text):
                    raise AssertionError(f"not {text!r} but {received or 'the end'}")
                self.count += 1
            link.sendall(_masked(CLOSE, b""))
            if (received := _frame(link)) != (CLOSE, b""):
                raise AssertionError(f"not closed but {received or 'cut'}")


def _get(link: socket.socket, close: bool = False) -> None:
    with link:
        link.sendall(REQUEST % (b"Connection: close\r\n" if close else b""))
        response(link)


def response(link: socket.socket) -> bytes:
    """The head of a response that has come whole. Raises AssertionError for any other."""
    head = _head(link)
    if not head.startswith(b"HTTP/1.1 200"):
        raise AssertionError(head or "closed without a response")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    if len(_exactly(link, length)) != length:
        raise AssertionError("the body is short")
    return head


def _field(head: bytes, name: bytes) -> bytes:
    """The value of a field; empty without it."""
    for line in head.split(b"\r\n"):
        found, _, value = line.partition(b":")
        if found.lower() == name:
            return value.strip()
    return b""


def _masked(opcode: int, payload: bytes) -> bytes:
    """A short frame of a client (RFC 6455 section 5.3)."""
    mask = os.urandom(4)
    plain = frame(opcode, payload)
    return bytes((plain[0], plain[1] | 0x80)) + mask + _unmask(payload, mask)


def _unmask(payload: bytes, mask: bytes) -> bytes:
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def _frame(link: socket.socket) -> tuple[int, bytes] | None:
    """The opcode and payload of a short frame, masked or not; None at the end."""
    start = _exactly(link, 2)
    if len(start) < 2:
        return None
    mask = _exactly(link, 4) if start[1] & 0x80 else bytes(4)
    return start[0] & 0x0F, _unmask(_exactly(link, start[1] & 0x7F), mask)


def _head(link: socket.socket) -> bytes:
    """All up to an empty line, and no byte more; nothing at the end."""
    data = b""
    while not data.endswith(END):
        if isinstance(link, ssl.SSLSocket):
            size = 1  # nothing can be looked at ahead
        else:
            ahead = link.recv(4096, socket.MSG_PEEK)
            end = (data + ahead).find(END)
            size = end + len(END) - len(data) if end >= 0 else len(ahead)
        piece = link.recv(size)
        if not piece:
            return b""
        data += piece
    return data


def _exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := link.recv(size - len(data))):
        data += piece
    return data
