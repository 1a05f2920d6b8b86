"""What a first miss costs the main process that owns a cache for its workers: µs of CPU.

``python benchmarks/cache_sharing.py [MISSES]``. A child process is a worker that asks for a lease,
stores 1 KiB and gives the lease back, 16 at a time; leases alone and fills alone are the parts of
it. The figure is the CPU time of the parent, its threads included.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from txrproxy.cache.stored import Stored
from txrproxy.http.head import parse_response_head
from txrproxy.transport.channel import Channel, socket_pair

MISSES = 3000
AT_A_TIME = 16
BODY = bytes(1024)
HEAD = parse_response_head(
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: max-age=60\r\n"
    b"Server: origin\r\nDate: Sat, 21 Nov 2026 15:44:06 GMT\r\nContent-Length: 1024"
)


def work(path: str, sock: Any, kinds: list[str], count: int) -> None:
    """The child: one kind after the other, each announced to the parent."""
    from twisted.internet import reactor

    from txrproxy.cache.link import Links
    from txrproxy.cache.store import Store

    clock: Any = reactor
    channel = Channel(reactor, sock, clock.stop)
    store = Store(
        path,
        max_size=1 << 30,
        max_object=1 << 20,
        memory=1 << 20,
        clock=reactor,
        deliver=clock.callFromThread,
        links=Links(channel, reactor),
    )
    number = 0

    def run(kind: str, done: Callable[[], None]) -> None:
        left = under_way = 0

        def begin() -> None:
            nonlocal number, left, under_way
            while left and under_way < AT_A_TIME:
                left -= 1
                under_way += 1
                number += 1
                key = b"%b http example.com /some/page/%d" % (kind.encode(), number)
                if kind == "fills":
                    fill(key, 0)
                else:
                    looked = clock.seconds()
                    store.lease(key, looked, True, lambda lease, key=key: leased(key, lease))

        def leased(key: bytes, lease: int | None) -> None:
            if kind == "leases":
                store.unlease(lease or 0)
                ended()
            else:
                fill(key, lease or 0)

        def fill(key: bytes, lease: int) -> None:
            url = b"http://example.com/some/page/%d" % number
            filling = store.fill(Stored(key, url, HEAD, 0, 1.0, 2.0), len(BODY))
            assert filling is not None
            filling.write(BODY)

            def stored(result: Stored | None) -> None:
                assert result is not None
                if lease:
                    store.unlease(lease)
                ended()

            filling.commit(stored)

        def ended() -> None:
            nonlocal under_way
            under_way -= 1
            if left:
                clock.callLater(0, begin)
            elif not under_way:
                done()

        left = count
        begin()

    def next_kind() -> None:
        if not kinds:
            channel.call("over", {"kind": ""})
            return
        kind = kinds.pop(0)
        channel.call("over", {"kind": kind}).addCallback(lambda _: run(kind, next_kind))

    def opened() -> None:
        if store.writer.storing:
            next_kind()
        else:
            clock.callLater(0.01, opened)

    store.open(opened)
    clock.run()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else MISSES
    with tempfile.TemporaryDirectory() as path:
        ours, theirs = socket_pair()
        child = os.fork()
        if not child:
            ours.close()
            try:
                work(path, theirs, ["fills", "leases", "fills", "leases", "misses"], count)
            finally:
                os._exit(0)
        theirs.close()
        try:
            keep(path, ours, count)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def keep(path: str, sock: Any, count: int) -> None:
    from twisted.internet import reactor

    from txrproxy.cache.keeper import Keeper
    from txrproxy.cache.link import TOPIC

    clock: Any = reactor
    channel = Channel(reactor, sock)
    keeper = Keeper(path, 1 << 30, "cache", reactor)
    keeper.open()
    # Another store of the folder: leases are for those who share.
    keeper.told("nobody", _Nobody(), {"do": "attach", "link": 1, "size": 1 << 30})
    began: list[tuple[str, float]] = []

    def over(body: dict[str, Any]) -> None:
        spent = time.process_time()
        if began:
            kind, before = began.pop()
            print(f"{kind}: {(spent - before) / count * 1e6:.0f} µs of CPU each, in the owner")
        if body["kind"]:
            began.append((body["kind"], time.process_time()))
        else:
            keeper.close().addCallback(lambda _: clock.stop())

    channel.register("over", over)
    channel.register(TOPIC, lambda body: keeper.told("child", channel, body))
    clock.run()


class _Nobody:
    """The channel of a store that does nothing."""

    def send(self, topic: str, body: dict[str, Any]) -> None:
        """It hears nothing."""


if __name__ == "__main__":
    main()
