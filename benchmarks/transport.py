"""What it costs to move a large body through one process: CPU time for 1 MiB, by way of moving it.

Two child processes are the origin and the client: over some connections at once, the client asks
for a body with one byte and swallows 1 MiB. This process is a minimal proxy between the two, and
only its own user and system time counts, so the figure is what the proxy adds.

    python benchmarks/transport.py [--bodies 400] [--connections 8] [--rounds 3] [--only NAME]

The first ways are a bare epoll loop, for the floor: the kernel's copies (one in, one out), the
number of system calls, the memory for each piece. The last ones are transports on a reactor.
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
from typing import Any

from twisted.internet import main, protocol
from twisted.internet.epollreactor import EPollReactor

from txrproxy.transport import direct
from txrproxy.transport.reactor import LeanReactor

KIB = 1 << 10
MIB = 1 << 20


def cpu() -> float:
    """Seconds of user and system time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


# The peers


def origin(listener: socket.socket) -> None:
    body = bytes(MIB)

    def serve(connection: socket.socket) -> None:
        while connection.recv(1):
            connection.sendall(body)

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def client(port: int, connections: int, bodies: int) -> None:
    """Fetch ``bodies`` bodies in all over ``connections`` connections."""

    def fetch() -> None:
        buffer = bytearray(MIB)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for _ in range(bodies // connections):
                connection.sendall(b"?")
                left = MIB
                while left:
                    taken = connection.recv_into(buffer, left)
                    if not taken:
                        raise EOFError
                    left -= taken

    threads = [threading.Thread(target=fetch) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def child(work: Callable[[], None]) -> int:
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    return pid


# Ways on a bare epoll loop. Each is made for one direction of one connection, and called when there
# is something to read or room to write; it says whether it waits for room.

Step = Callable[[], bool]
Ends = tuple[socket.socket, socket.socket]


def copying(ends: Ends, receive: Callable[[], bytes | memoryview]) -> Step:
    _, sink = ends
    rest = b""

    def step() -> bool:
        nonlocal rest
        data: bytes | memoryview = rest
        rest = b""
        try:
            data = data or receive()
        except BlockingIOError:
            return False
        try:
            sent = sink.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            rest = bytes(memoryview(data)[sent:])
        return bool(rest)

    return step


def recv(size: int) -> Callable[[Ends], Step]:
    return lambda ends: copying(ends, lambda: ends[0].recv(size))


def recv_into(size: int) -> Callable[[Ends], Step]:
    view = memoryview(bytearray(size))  # one for the process
    return lambda ends: copying(ends, lambda: view[: ends[0].recv_into(view)])


def splice(size: int) -> Callable[[Ends], Step]:
    def make(ends: Ends) -> Step:
        source, sink = (end.fileno() for end in ends)
        way_out, way_in = os.pipe2(os.O_NONBLOCK)
        fcntl.fcntl(way_in, fcntl.F_SETPIPE_SZ, size)
        flags = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
        held = 0

        def step() -> bool:
            nonlocal held
            try:
                held = held or os.splice(source, way_in, size, flags=flags)
            except BlockingIOError:
                return False
            try:
                held -= os.splice(way_out, sink, held, flags=flags)
            except BlockingIOError:
                pass
            return bool(held)

        return step

    return make


def bare(make: Callable[[Ends], Step]) -> Callable[[socket.socket, int, int], None]:
    def run(listener: socket.socket, origin_port: int, connections: int) -> None:
        poller = select.epoll()
        steps: dict[int, tuple[socket.socket, socket.socket, Step, list[bool]]] = {}
        for _ in range(connections):
            down, _ = listener.accept()
            up = socket.create_connection(("127.0.0.1", origin_port))
            for source, sink in ((up, down), (down, up)):
                source.setblocking(False)
                poller.register(source, select.EPOLLIN)
                steps[source.fileno()] = (source, sink, make((source, sink)), [False])
        ends = connections
        while ends:
            for fd, event in poller.poll():
                source, sink, step, waiting = steps[fd]
                if event & select.EPOLLOUT:  # only the client's end is ever full here
                    _, _, step, waiting = steps[sink.fileno()]
                    source, sink = sink, source
                elif event & (select.EPOLLHUP | select.EPOLLRDHUP) or not peek(source):
                    poller.unregister(source)
                    poller.unregister(sink)
                    ends -= 1
                    continue
                waits = step()
                if waits != waiting[0]:
                    waiting[0] = waits
                    poller.modify(source, 0 if waits else select.EPOLLIN)
                    poller.modify(sink, select.EPOLLIN | (select.EPOLLOUT if waits else 0))
        for source, *_ in steps.values():
            source.close()

    return run


def peek(source: socket.socket) -> bool:
    return bool(source.recv(1, socket.MSG_PEEK))


# Ways on a reactor


class Side(protocol.Protocol):
    """One end of a proxied connection: what it receives, the other end writes."""

    far: Any = None

    def join(self, far: Side) -> None:
        self.far, far.far = far, self
        self.transport.registerProducer(far.transport, True)
        far.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        self.far.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        if self.far is not None:
            far, self.far = self.far, None
            far.transport.unregisterProducer()
            far.transport.loseConnection()


_view = memoryview(bytearray(direct.BULK_READ))
_read = direct.DirectClient.doRead


def _borrow(transport: Any) -> Any:
    """``doRead`` that receives into one buffer of the process and lends it out."""
    try:
        size = transport.socket.recv_into(_view)
    except BlockingIOError:
        return None
    if not size:
        return main.CONNECTION_DONE
    transport.protocol.dataReceived(_view[:size])
    return None


def on_reactor(
    make_reactor: Callable[[], Any], read: Any, read_size: int
) -> Callable[[socket.socket, int, int], None]:
    """``read`` is the ``doRead`` of direct transports; None for stock transports."""

    def run(listener: socket.socket, origin_port: int, connections: int) -> None:
        reactor = make_reactor()
        left = connections

        class Down(Side):
            def connectionMade(self) -> None:
                self.transport.read_size = read_size
                self.transport.pauseProducing()
                factory = protocol.ClientFactory()
                factory.buildProtocol = self.build  # type: ignore[assignment,method-assign]
                if read is None:
                    reactor.connectTCP("127.0.0.1", origin_port, factory)
                else:
                    direct.connect_tcp(reactor, "127.0.0.1", origin_port, factory, 5)

            def build(self, address: Any) -> Side:
                down = self

                class Up(Side):
                    def connectionMade(self) -> None:
                        self.transport.read_size = read_size
                        self.join(down)
                        down.transport.resumeProducing()

                return Up()

            def connectionLost(self, reason: Any = None) -> None:
                nonlocal left
                super().connectionLost(reason)
                left -= 1
                if not left:
                    reactor.stop()

        factory = protocol.Factory.forProtocol(Down)
        listener.setblocking(False)
        port: Any = reactor.adoptStreamPort(listener.fileno(), socket.AF_INET, factory)
        if read is not None:
            direct.direct_port(port)
            for kind in (direct.DirectServer, direct.DirectClient):
                kind.doRead = read  # type: ignore[method-assign]
        reactor.run(installSignalHandlers=False)
        listener.setblocking(True)

    return run


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bodies", type=int, default=400)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="run the ways whose name contains this")
    options = parser.parse_args()

    ways = {
        "epoll, recv 64 KiB": bare(recv(64 * KIB)),
        "epoll, recv 256 KiB": bare(recv(256 * KIB)),
        "epoll, recv_into 64 KiB": bare(recv_into(64 * KIB)),
        "epoll, recv_into 256 KiB": bare(recv_into(256 * KIB)),
        "epoll, splice 64 KiB": bare(splice(64 * KIB)),
        "epoll, splice 256 KiB": bare(splice(256 * KIB)),
        "stock reactor, stock": on_reactor(EPollReactor, None, direct.READ),
        "stock reactor, direct 64 KiB": on_reactor(EPollReactor, _read, direct.READ),
        "lean, stock": on_reactor(LeanReactor, None, direct.READ),
        "lean, direct 64 KiB": on_reactor(LeanReactor, _read, direct.READ),
        "lean, direct 128 KiB": on_reactor(LeanReactor, _read, 128 * KIB),
        "lean, direct 256 KiB": on_reactor(LeanReactor, _read, direct.BULK_READ),
        "lean, direct 512 KiB": on_reactor(LeanReactor, _read, 512 * KIB),
        "lean, direct, lent 256 KiB": on_reactor(LeanReactor, _borrow, 0),
    }
    bodies = options.bodies // options.connections * options.connections
    with (
        socket.create_server(("127.0.0.1", 0)) as far,
        socket.create_server(("127.0.0.1", 0)) as near,
    ):
        origin_pid = child(lambda: origin(far))
        costs: dict[str, list[float]] = {name: [] for name in ways if options.only in name}
        try:
            for _ in range(options.rounds):
                for name, values in costs.items():
                    number = near.getsockname()[1]
                    fetcher = child(lambda: client(number, options.connections, bodies))  # noqa: B023
                    before = cpu()
                    ways[name](near, far.getsockname()[1], options.connections)
                    values.append((cpu() - before) / bodies * 1e6)
                    os.waitpid(fetcher, 0)
        finally:
            os.kill(origin_pid, 9)
            os.waitpid(origin_pid, 0)
    print(f"{'way':<30}{'µs CPU for 1 MiB':>18}")
    for name, values in costs.items():
        print(f"{name:<30}{statistics.median(values):>18.0f}")


if __name__ == "__main__":
    run()
