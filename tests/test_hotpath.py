"""What a warm proxied request costs in Python calls, so that growth is a choice.

The whole data path runs on transports in memory, and a profiler sees every Python function that is
called in the product or in Twisted for one request: from the bytes of its head to the last byte of
its response. The transports and the clock of the test are left out; what stands for them at work is
a ``send``, a ``recv`` and a clock written in C.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import twisted
from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

import txrproxy
from txrproxy.config.build import build
from txrproxy.config.toml import load_with_warnings

CALLS = 51  # for a GET with the fields of a browser; raise it only for something worth its price

CONFIG = """\
version = 1
[listeners.http]
bind = ["127.0.0.1:0"]
[pools.app]
backends = ["http://127.0.0.1:9"]
[[routes]]
name = "app"
match = { host = "example.com", path = "/*" }
pool = "app"
"""

REQUEST = b"\r\n".join(
    [
        b"GET /path/to/page?query=1 HTTP/1.1",
        b"Host: example.com",
        b"Connection: keep-alive",
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        b"Accept-Language: en-US,en;q=0.5",
        b"Accept-Encoding: gzip, deflate, br, zstd",
        b"Referer: https://example.com/",
        b"Cookie: session=0123456789abcdef; theme=dark",
        b"Upgrade-Insecure-Requests: 1",
        b"Sec-Fetch-Dest: document",
        b"Sec-Fetch-Mode: navigate",
        b"Sec-Fetch-Site: same-origin",
        b"Cache-Control: no-cache",
        b"\r\n",
    ]
)
RESPONSE = b"\r\n".join(
    [
        b"HTTP/1.1 200 OK",
        b"Server: origin",
        b"Date: Tue, 14 Nov 2023 22:13:20 GMT",
        b"Content-Type: text/html; charset=utf-8",
        b"Content-Length: 1024",
        b'ETag: "0123456789abcdef"',
        b"",
        b"x" * 1024,
    ]
)

_OURS = str(Path(txrproxy.__file__).parent)
_TWISTED = str(Path(twisted.__file__).parent)
_FAKES = (f"{_TWISTED}/internet/testing.py", f"{_TWISTED}/internet/task.py")


class Transport(StringTransport):
    """In memory, and quiet about options that matter to sockets alone."""

    protocol: Any = None
    read_size = 0

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass


class Log(list):  # type: ignore[type-arg]
    enabled = True


class HotPathTests(SynchronousTestCase):
    def setUp(self) -> None:
        path = Path(self.mktemp())
        path.write_text(CONFIG)
        config, _ = load_with_warnings(str(path))
        self.reactor = MemoryReactorClock()
        self.log = Log()
        graph = build(config, self.reactor, self.log)
        ((_, site),) = graph.sites
        client = IPv4Address("TCP", "127.0.0.1", 50000)
        self.down = Transport(peerAddress=client)
        self.downstream = site.buildProtocol(client)
        self.downstream.makeConnection(self.down)
        self.up: Transport | None = None
        for _ in range(3):
            self.exchange()

    def exchange(self) -> None:
        """One request, there and back."""
        self.downstream.dataReceived(REQUEST)
        if self.up is None:
            ((*_, factory, _, _),) = self.reactor.tcpClients
            self.up = Transport()
            factory.buildProtocol(None).makeConnection(self.up)
        assert self.up.protocol is not None
        self.up.protocol.dataReceived(RESPONSE)

    def profile(self) -> Counter[tuple[str, str]]:
        """File and function of every call for one request."""
        calls: Counter[tuple[str, str]] = Counter()

        def note(frame: FrameType, event: str, argument: object) -> None:
            caller = frame.f_back
            if event != "call" or (caller and caller.f_code.co_filename in _FAKES):
                return
            file = frame.f_code.co_filename
            if file.startswith((_OURS, _TWISTED)) and file not in _FAKES:
                calls[file, frame.f_code.co_qualname] += 1

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            self.exchange()
        finally:
            sys.setprofile(before)
        return calls

    def test_it_is_a_proxied_request(self) -> None:
        assert self.up is not None
        self.down.clear()
        self.up.clear()
        self.exchange()
        self.assertTrue(self.up.value().startswith(b"GET /path/to/page?query=1 HTTP/1.1\r\n"))
        self.assertTrue(self.down.value().startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertTrue(self.down.value().endswith(b"\r\n\r\n" + b"x" * 1024))
        self.assertEqual(len(self.log), 4)
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_calls(self) -> None:
        calls = self.profile()
        listing = "\n".join(
            f"{count:3} {Path(file).name}:{name}" for (file, name), count in calls.most_common()
        )
        self.assertLessEqual(calls.total(), CALLS, f"\n{listing}")

    def test_nothing_that_waits(self) -> None:
        """No Deferred, no timer, no log event."""
        planned = len(self.reactor.getDelayedCalls())
        files = {file.removeprefix(_TWISTED) for file, _ in self.profile()}
        self.assertNotIn("/internet/defer.py", files)
        self.assertEqual([file for file in files if file.startswith("/logger/")], [])
        self.assertEqual(len(self.reactor.getDelayedCalls()), planned)

    def test_no_timer_is_even_tried(self) -> None:
        made = []
        self.patch(self.reactor, "callLater", lambda *call: made.append(call))
        self.exchange()
        self.assertEqual(made, [])
