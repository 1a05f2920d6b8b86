"""What it costs to move a large body through one process: CPU time for 1 MiB, by way of moving it.

A child process is the origin and the client: it pushes bodies into one loopback connection and
swallows them from another. This process is a minimal proxy between the two, and only its own user
and system time counts, so the figure is what the proxy adds.

    python benchmarks/transport.py [--bodies 300] [--rounds 3]

The kernel's copies (one in, one out) are the floor of every way but ``splice``. What differs is the
number of system calls, and whether each piece needs fresh memory.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import resource
import select
import socket
import statistics
import threading
from collections.abc import Callable

KIB = 1 << 10
MIB = 1 << 20

Step = Callable[[socket.socket, socket.socket], "tuple[int, bool]"]


def cpu() -> float:
    """Seconds of user and system time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Copying:
    """Receive, send at once, and keep what the sink did not take."""

    def __init__(self, receive: Callable[[socket.socket], bytes | memoryview]) -> None:
        self.receive = receive
        self.rest = b""

    def __call__(self, source: socket.socket, sink: socket.socket) -> tuple[int, bool]:
        data: bytes | memoryview = self.rest
        self.rest = b""
        try:
            data = data or self.receive(source)
        except BlockingIOError:
            return 0, False
        try:
            sent = sink.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.rest = bytes(data[sent:])
        return sent, bool(self.rest)


def recv(size: int) -> Step:
    return Copying(lambda source: source.recv(size))


def recv_into(size: int) -> Step:
    view = memoryview(bytearray(size))
    return Copying(lambda source: view[: source.recv_into(view)])


class Splicing:
    """Through a pipe, the bytes never mapped into the process."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.exit, self.entry = os.pipe2(os.O_NONBLOCK)
        fcntl.fcntl(self.entry, fcntl.F_SETPIPE_SZ, size)
        self.held = 0

    def __call__(self, source: socket.socket, sink: socket.socket) -> tuple[int, bool]:
        flags = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
        try:
            if not self.held:
                self.held = os.splice(source.fileno(), self.entry, self.size, flags=flags)
        except BlockingIOError:
            return 0, False
        try:
            sent = os.splice(self.exit, sink.fileno(), self.held, flags=flags)
        except BlockingIOError:
            sent = 0
        self.held -= sent
        return sent, bool(self.held)


def relay(source: socket.socket, sink: socket.socket, total: int, step: Step) -> int:
    """Move ``total`` bytes on an epoll loop; reading stops while the sink is full.

    Returns the number of loop turns.
    """
    poller = select.epoll()
    poller.register(source, select.EPOLLIN)
    poller.register(sink, 0)
    reading, moved, turns = True, 0, 0
    while moved < total:
        poller.poll()
        turns += 1
        count, blocked = step(source, sink)
        moved += count
        if blocked == reading:
            reading = not blocked
            poller.modify(source, select.EPOLLIN if reading else 0)
            poller.modify(sink, 0 if reading else select.EPOLLOUT)
    poller.close()
    return turns


def peers(port: int, total: int, rounds: int) -> None:
    """The child: for each round, push ``total`` bytes in and swallow as many."""
    piece = bytes(MIB)
    for _ in range(rounds):
        out = socket.create_connection(("127.0.0.1", port))
        back = socket.create_connection(("127.0.0.1", port))

        def push(out: socket.socket = out) -> None:
            for _ in range(total // MIB):
                out.sendall(piece)

        pusher = threading.Thread(target=push)
        pusher.start()
        buffer = bytearray(MIB)
        left = total
        while left:
            left -= back.recv_into(buffer, min(MIB, left))
        pusher.join()
        back.recv(1)
        out.close()
        back.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bodies", type=int, default=300, help="MiB in one round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    ways: dict[str, Callable[[], Step]] = {
        "recv 64 KiB": lambda: recv(64 * KIB),
        "recv 128 KiB": lambda: recv(128 * KIB),
        "recv 256 KiB": lambda: recv(256 * KIB),
        "recv_into 64 KiB": lambda: recv_into(64 * KIB),
        "recv_into 256 KiB": lambda: recv_into(256 * KIB),
        "recv_into 1 MiB": lambda: recv_into(MIB),
        "splice 64 KiB": lambda: Splicing(64 * KIB),
        "splice 1 MiB": lambda: Splicing(MIB),
    }
    listener = socket.create_server(("127.0.0.1", 0))
    total = options.bodies * MIB
    child = os.fork()
    if not child:
        try:
            peers(listener.getsockname()[1], total, options.rounds * len(ways))
        finally:
            os._exit(0)
    costs: dict[str, list[float]] = {name: [] for name in ways}
    counts: dict[str, int] = {}
    for _ in range(options.rounds):
        for name, make in ways.items():
            source, sink = listener.accept()[0], listener.accept()[0]
            for end in (source, sink):
                end.setblocking(False)
            before = cpu()
            counts[name] = relay(source, sink, total, make())
            costs[name].append((cpu() - before) / options.bodies * 1e6)
            source.close()
            sink.close()
    os.waitpid(child, 0)
    print(f"{'way':<20}{'µs CPU / MiB':>14}{'loop turns / MiB':>18}")
    for name, values in costs.items():
        median = statistics.median(values)
        print(f"{name:<20}{median:>14.0f}{counts[name] / options.bodies:>18.1f}")


if __name__ == "__main__":
    main()
