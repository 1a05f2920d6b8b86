"""A proxy of several processes, clients that choose which of them serves, and two backends.

A connection belongs to one worker. Which, the kernel tells: the descriptor of its other end.
"""

from __future__ import annotations

import os
import re
import select
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from tests.service.processes import ProcessCase
from tests.twistd import PATIENCE, Twistd, connect, wait_until

CONFIG = """\
version = 1
[server]
workers = {workers}
drain_timeout = "20s"
[log]
access = {{ format = "off" }}
[listeners.http]
bind = ["127.0.0.1:0"]
[pools.app]
backends = [{backends}]
{pool}
[policies.all]
{policy}
[[routes]]
name = "app"
use = ["all"]
pool = "app"
"""


def owner(local: int, remote: int, guesses: Iterable[int] = ()) -> int | None:
    """The process that has the end of a connection with this local and remote port."""
    ports = re.compile(rf"^ *\d+: 0100007F:{local:04X} 0100007F:{remote:04X} ", re.M)
    with open("/proc/net/tcp", encoding="ascii") as table:
        found = ports.search(text := table.read())
    if found is None:
        return None
    inode = text[found.start() : text.index("\n", found.start())].split()[9]
    for pid in (*map(str, guesses), *filter(str.isdigit, os.listdir("/proc"))):
        with suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{fd}") == f"socket:[{inode}]":
                        return int(pid)
    return None


class Backend:
    """Answers with its name. ``mood`` is what it does: "well", "ill" (to checks), "broken", "mute".

    ``asked`` are the processes whose checks were answered, ``served`` counts requests.
    """

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.mood = "well"
        self.asked: list[int | None] = []
        self.served = 0
        self.go_on = threading.Event()  # for checks and requests of one that is mute
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
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    piece = link.recv(65536)
                    if not piece:
                        return
                    data += piece
                head, _, data = data.partition(b"\r\n\r\n")
                check = head.startswith(b"GET /up ")
                if check:
                    self.asked.append(owner(link.getpeername()[1], self.port))
                else:
                    self.served += 1
                if self.mood == "mute":
                    self.go_on.wait(PATIENCE)
                if self.mood == "broken" and not check:
                    return
                status = b"503 So" if self.mood == "ill" and check else b"200 OK"
                link.sendall(
                    b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b"
                    % (status, len(self.name), self.name)
                )

    def close(self) -> None:
        self.go_on.set()
        for each in (self._socket, *self._links):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Lane:
    """A connection that is kept, to the worker ``pid``."""

    def __init__(self, port: int) -> None:
        self._link = connect(port)
        self._port = port
        self.pid = 0

    def find(self, guesses: Iterable[int]) -> int:
        client = self._link.getsockname()[1]
        found: list[int | None] = []
        self.ask()  # who has answered has accepted
        wait_until(lambda: found.append(owner(self._port, client, guesses)) or found[-1])  # type: ignore[func-returns-value]
        self.pid = found[-1] or 0
        return self.pid

    def send(self, method: str = "GET") -> None:
        self._link.sendall(f"{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def receive(self) -> bytes:
        """What the response says, or its status if that is not 200."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._piece()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += self._piece()
        status = head.split()[1]
        return body if status == b"200" else status

    def _piece(self) -> bytes:
        piece = self._link.recv(65536)
        if not piece:
            raise AssertionError("closed in the middle of a response")
        return piece

    def has_answer(self) -> bool:
        return bool(select.select([self._link], [], [], 0)[0])

    def ask(self, method: str = "GET") -> bytes:
        self.send(method)
        return self.receive()

    def names(self, count: int = 6) -> set[bytes]:
        return {self.ask() for _ in range(count)}

    def close(self) -> None:
        self._link.close()


class SharingScenario(ProcessCase):
    """``self.a`` and ``self.b`` are the backends, ``self.lanes`` has one lane for each worker."""

    workers = 2

    def setUp(self) -> None:
        self.a, self.b = Backend(b"a"), Backend(b"b")
        self.addCleanup(self.a.close)
        self.addCleanup(self.b.close)
        self.lanes: list[Lane] = []
        super().setUp()

    def write(  # type: ignore[override]
        self, pool: str = "", policy: str = "", backends: str = "", workers: int | None = None
    ) -> None:
        urls = ", ".join(f'"http://127.0.0.1:{each.port}"' for each in (self.a, self.b))
        self.config.write_text(
            CONFIG.format(
                workers=self.workers if workers is None else workers,
                backends=backends or urls,
                pool=pool,
                policy=policy,
            )
        )

    def start(self, *options: str, **keywords: Any) -> Twistd:
        self.proxy = Twistd(self.config, *options, **keywords)
        self.addCleanup(self.proxy.kill)
        self.port = self.proxy.port()
        return self.proxy

    def connect(self) -> list[Lane]:
        """A lane to each worker."""
        for lane in self.lanes:
            lane.close()
        wanted = set(self.pids())
        found: dict[int, Lane] = {}

        def connected() -> bool:
            lane = Lane(self.port)
            self.addCleanup(lane.close)
            if lane.find(wanted) in wanted - found.keys():
                found[lane.pid] = lane
            else:
                lane.close()
            return found.keys() == wanted

        wait_until(connected)
        self.lanes = list(found.values())
        return self.lanes

    def set(self, backend: Backend, **wanted: Any) -> dict[str, Any]:
        """Over the control socket; without anything, wait until all was taken that was told."""
        return self.ask("backend", pool="app", backend=f"127.0.0.1:{backend.port}", **wanted)

    def known(self, backend: Backend) -> dict[str, Any]:
        """What the main process knows of it."""
        (pool,) = self.ask("pools")["pools"]
        (row,) = [row for row in pool["backends"] if row["id"].endswith(f":{backend.port}")]
        return dict(row)

    def until_all(self, names: set[bytes]) -> None:
        """Wait until these answer, and no others, whichever worker is asked."""
        for lane in self.lanes:
            wait_until(lambda lane=lane: lane.names() == names)  # type: ignore[misc]
