"""A cache that several processes fill, in real processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.cache.storing import disk_use
from tests.service.processes import ProcessCase
from tests.twistd import PATIENCE, connect, end, environment, wait_until
from txrproxy.cache.control import NoOwner, ask

CACHE = """\
[caches.main]
path = "cache"
max_size = "{size}"
memory = "{memory}"
"""
ROUTE = 'cache = {{ store = "main"{more} }}\n'


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, *_: Any) -> None:
        """A proxy that was killed."""


class CountingOrigin:
    """Answers ``/SIZE/...`` with so many bytes that follow from the path, and counts.

    ``gate`` is what an answer waits for; ``field`` is sent along.
    """

    def __init__(self) -> None:
        origin = self
        self.asked: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()
        self.field = ("Cache-Control", "max-age=60")
        self.version = 0
        self._lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                with origin._lock:
                    origin.asked[self.path] += 1
                origin.gate.wait(PATIENCE)
                body = origin.body(self.path)
                self.send_response(200)
                self.send_header(*origin.field)
                self.send_header("Cache-Tag", f"all,{self.path.split('/')[2]}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body)

            def do_POST(self) -> None:
                self.send_response(204)
                self.end_headers()

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def body(self, path: str) -> bytes:
        size = int(path.split("/")[1])
        text = f"{path} {self.version}\n".encode()
        return (text * (size // len(text) + 1))[:size]

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


def fetch(link: socket.socket, path: str, method: str = "GET") -> tuple[str, bytes]:
    """Ask on a connection that is kept: Cache-Status, and the body."""
    length = "Content-Length: 0\r\n" if method == "POST" else ""
    link.sendall(f"{method} {path} HTTP/1.1\r\nHost: a.example\r\n{length}\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        piece = link.recv(65536)
        if not piece:
            raise ConnectionResetError
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    found = re.search(r"content-length: (\d+)", text, re.IGNORECASE)
    size = int(found[1]) if found else 0
    while len(body) < size:
        piece = link.recv(min(65536, size - len(body)))
        if not piece:
            raise ConnectionResetError
        body += piece
    status = re.search(r"cache-status: (.*)", text, re.IGNORECASE)
    return (status[1].strip() if status else "", body)


def is_hit(status: str) -> bool:
    return status.startswith("txrproxy; hit")


class CacheCase(ProcessCase):
    more = ""
    memory = "1MiB"
    size = "64MiB"

    def setUp(self) -> None:
        super().setUp()
        self.source = CountingOrigin()
        self.addCleanup(self.source.close)
        self.rewrite()

    def rewrite(self, cache: str | None = None, route: str | None = None, **more: Any) -> None:
        cache = CACHE.format(size=self.size, memory=self.memory) if cache is None else cache
        self.write(more=cache, origin=self.source.port, **more)
        text = ROUTE.format(more=self.more) if route is None else route
        with open(self.config, "a") as file:
            file.write(text)

    def ready(self) -> None:
        """Start, and wait until what is asked for is stored by every process."""
        self.start()
        self.await_storing()

    def await_storing(self) -> None:
        links = self.links()
        wait_until(self.is_complete)
        for link in links:
            wait_until(lambda link=link: self.is_stored(link))
        self.asked(ask="purge", kind="tag", value="ready")

    def is_complete(self) -> bool:
        with contextlib.suppress(NoOwner, OSError):
            return bool(ask(str(self.folder / "cache"), {"ask": "stats"})["complete"])
        return False

    def is_stored(self, link: socket.socket) -> bool:
        path = f"/10/ready/{os.urandom(4).hex()}"
        return fetch(link, path)[0].endswith("stored")

    def links(self) -> list[socket.socket]:
        """A connection to each worker, in their order."""
        wanted = [row["pid"] for row in self.ask("status")["workers"]]
        found: dict[int, socket.socket] = {}
        spare = []
        while len(found) < len(wanted):
            before = self.connections()
            link = connect(self.port)
            self.addCleanup(link.close)
            wait_until(lambda before=before: self.connections() != before)
            after = self.connections()
            (pid,) = [pid for pid in wanted if after.get(pid, 0) > before.get(pid, 0)] or [0]
            if pid and pid not in found:
                found[pid] = link
            else:
                spare.append(link)
        for link in spare:
            link.close()
        count = len(found)
        wait_until(lambda: sum(self.connections().values()) <= count + self.open_before)
        self.open_before += count
        return [found[pid] for pid in wanted]

    open_before = 0

    def connections(self) -> dict[int, int]:
        return {row["pid"]: row["connections"] for row in self.ask("status")["workers"]}

    def command(self, *words: str) -> tuple[int, str]:
        """``txrproxy cache``: its status, and what it says."""
        verb, *rest = words
        done = subprocess.run(
            [sys.executable, "-m", "txrproxy.cli", "cache", verb, "-c", str(self.config), *rest],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = self.asked(ask="stats")
        return found

    def asked(self, **question: Any) -> Any:
        """What the command would be told."""
        return ask(str(self.folder / "cache"), question)


class SharedTests(CacheCase):
    def test_fill_in_one_hit_in_the_other(self) -> None:
        self.ready()
        one, other = self.links()
        for size in (1000, 300_000):
            path = f"/{size}/a"
            status, body = fetch(one, path)
            self.assertEqual(
                (status, body), ("txrproxy; fwd=uri-miss; stored", self.source.body(path))
            )
            for link in (other, one, other):
                wait_until(lambda link=link, path=path: is_hit(fetch(link, path)[0]))
                status, body = fetch(link, path)
                self.assertTrue(is_hit(status), status)
                self.assertEqual(body, self.source.body(path))
            self.assertEqual(self.source.asked[path], 1)

    def test_purges_reach_all(self) -> None:
        """By tag, prefix, URL, all, and by an unsafe method; the memory of each as well."""
        self.ready()
        links = self.links()
        ways: list[dict[str, Any]] = [
            {"kind": "tag", "value": "a"},
            {"kind": "prefix", "value": "http://a.example/1000/"},
            {"kind": "url", "value": "http://a.example/1000/a"},
            {"kind": "all"},
            {"kind": "tag", "value": "all", "soft": True},
        ]
        for count, way in enumerate(ways, 1):
            self.source.version = count
            for link in links:
                fetch(link, "/1000/a")
                wait_until(lambda link=link: is_hit(fetch(link, "/1000/a")[0]))
            asked = self.source.asked["/1000/a"]
            self.source.version = count + 1
            self.assertEqual(self.asked(ask="purge", **way)["count"], 1)
            for link in links:
                self.assertEqual(fetch(link, "/1000/a")[1], self.source.body("/1000/a"), way)
            self.assertEqual(self.source.asked["/1000/a"], asked + 1)

    def test_an_unsafe_method_reaches_all(self) -> None:
        self.ready()
        one, other = self.links()
        for link in (one, other):
            fetch(link, "/1000/a")
            wait_until(lambda link=link: is_hit(fetch(link, "/1000/a")[0]))
        for version in range(1, 20):
            self.source.version = version
            fetch(one, "/1000/a", "POST")
            self.assertEqual(fetch(other, "/1000/a")[1], self.source.body("/1000/a"))
            wait_until(lambda: is_hit(fetch(other, "/1000/a")[0]))

    def test_the_response_to_a_write_waits_until_all_know(self) -> None:
        self.ready()
        one, _ = self.links()
        pid = self.pids()[1]
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        one.sendall(b"POST /1000/a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(select.select([one], [], [], 0.3)[0], [])
        os.kill(pid, signal.SIGCONT)
        self.assertTrue(one.recv(1000).startswith(b"HTTP/1.1 204 "))

    def test_misses_collapse(self) -> None:
        """200 at once over both processes."""
        self.ready()
        self.source.gate.clear()
        links = []
        for _ in range(200):
            link = connect(self.port)
            self.addCleanup(link.close)
            links.append(link)
        with ThreadPoolExecutor(len(links)) as pool:
            asking = [pool.submit(fetch, link, "/5000/collapse") for link in links]
            wait_until(lambda: self.source.asked["/5000/collapse"])
            wait_until(lambda: all(count >= 50 for count in self.connections().values()))
            self.source.gate.set()
            answers = [each.result(PATIENCE) for each in asking]
        self.assertEqual({body for _, body in answers}, {self.source.body("/5000/collapse")})
        self.assertLessEqual(self.source.asked["/5000/collapse"], 2)

    def test_not_for_all(self) -> None:
        """What turns out not to be storable goes to the origin for each, and nobody waits long."""
        self.ready()
        self.source.field = ("Cache-Control", "no-store")
        links = self.links()
        for number in range(3):
            for link in links:
                self.assertEqual(fetch(link, "/1000/private")[0], "txrproxy; fwd=uri-miss")
            self.assertEqual(self.source.asked["/1000/private"], 2 * (number + 1))

    def test_stale_is_renewed_once(self) -> None:
        self.more = ', stale_while_revalidate = "1h"'
        self.source.field = ("Cache-Control", "max-age=1")
        self.rewrite()
        self.ready()
        links = self.links()
        for link in links:
            fetch(link, "/1000/swr")
            wait_until(lambda link=link: is_hit(fetch(link, "/1000/swr")[0]))
        before = self.source.asked["/1000/swr"]
        self.source.field = ("Cache-Control", "max-age=60")
        self.source.version = 5
        new = self.source.body("/1000/swr")
        for link in links:
            wait_until(lambda link=link: fetch(link, "/1000/swr")[1] == new)
        self.assertLessEqual(self.source.asked["/1000/swr"] - before, 3)

    def test_command(self) -> None:
        self.ready()
        links = self.links()
        for link in links:
            fetch(link, "/1000/a")
            wait_until(lambda link=link: is_hit(fetch(link, "/1000/a")[0]))
        status, said = self.command("ls", "http://a.example/1000/")
        self.assertEqual((status, said.splitlines()[0][-24:]), (0, " http://a.example/1000/a"))
        status, said = self.command("show", "http://a.example/1000/a")
        self.assertIn("tags: all, a", said)
        status, said = self.command("purge", "--all", "--dry-run")
        self.assertEqual(status, 0)
        self.assertRegex(said, "^1 response would be removed")
        status, said = self.command("stats", "--json")
        stats = json.loads(said)
        self.assertEqual((stats["responses"], stats["processes"], stats["storing"]), (1, 2, True))
        self.assertGreaterEqual(stats["memory_objects"], 2)
        status, said = self.command("purge", "--url", "http://nothing", "--json")
        self.assertEqual(json.loads(said), {"count": 0, "size": 0})
        self.assertEqual(self.proxy.end(), -signal.SIGTERM)
        self.assertEqual(self.stats()["responses"], 1)


class OneProcessTests(CacheCase):
    workers = 1

    def test_command(self) -> None:
        self.ready()
        (link,) = self.links()
        fetch(link, "/1000/a")
        wait_until(lambda: is_hit(fetch(link, "/1000/a")[0]))
        self.assertEqual(self.command("purge", "--tag", "a")[0], 0)
        self.assertFalse(is_hit(fetch(link, "/1000/a")[0]))
        self.assertEqual(self.stats()["processes"], 1)
        self.assertEqual(self.proxy.end(), -signal.SIGTERM)
        self.assertEqual(self.stats()["responses"], 1)


class NoProcessTests(OneProcessTests):
    workers = 0


class CrashTests(CacheCase):
    memory = "64KiB"

    def test_killed_while_filling(self) -> None:
        """Nothing is torn, and storing goes on."""
        self.ready()
        self.load_paths(200, kills=3)
        self.await_storing()
        for number in range(200):
            path = f"/{(number % 7 + 1) * 40_000}/{number}"
            with connect(self.port) as link:
                self.assertEqual(fetch(link, path)[1], self.source.body(path))
        self.assertEqual(self.stats()["damaged"], 0)

    def load_paths(self, count: int, kills: int = 0) -> None:
        over = threading.Event()

        def ask(lane: int) -> None:
            number = lane
            while not over.is_set():
                with contextlib.suppress(OSError), connect(self.port) as link:
                    for _ in range(20):
                        path = f"/{(number % count % 7 + 1) * 40_000}/{number % count}"
                        number += 1
                        body = fetch(link, path)[1]
                        if body != self.source.body(path):
                            torn.append(path)

        torn: list[str] = []
        threads = [
            threading.Thread(target=ask, args=(lane * 17,), daemon=True) for lane in range(6)
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in range(kills):
                before = sum(self.source.asked.values())
                wait_until(lambda before=before: sum(self.source.asked.values()) > before + 10)
                os.kill(self.pids()[0], signal.SIGKILL)
                self.proxy.wait_for("serves")
        finally:
            over.set()
            for thread in threads:
                thread.join(PATIENCE)
        self.assertEqual(torn, [])

    def test_bound(self) -> None:
        """Both fill, and what is on the disk stays within the bound."""
        self.size = "6MiB"
        self.rewrite()
        self.ready()
        folder = str(self.folder / "cache")
        most = [0]
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.01):
                with contextlib.suppress(OSError):
                    most[0] = max(most[0], disk_use(folder))

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()

        def fill(lane: int) -> None:
            with connect(self.port) as link:
                for number in range(40):
                    path = f"/{(number % 9 + 1) * 30_000}/{lane}-{number}"
                    self.assertEqual(fetch(link, path)[1], self.source.body(path))

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(fill, range(6)))
        over.set()
        watching.join(PATIENCE)
        self.assertLessEqual(most[0], (6 << 20) * 1.05)
        stats = self.stats()
        self.assertGreater(stats["evicted"], 10)
        self.assertGreater(stats["stored"], 100)


class ReloadTests(CacheCase):
    def test_unchanged(self) -> None:
        self.ready()
        one, other = self.links()
        fetch(one, "/1000/a")
        wait_until(lambda: is_hit(fetch(other, "/1000/a")[0]))
        self.reload()
        for link in (one, other):
            self.assertTrue(is_hit(fetch(link, "/1000/a")[0]))
        self.assertEqual(self.stats()["processes"], 2)

    def test_changed_under_traffic(self) -> None:
        """What is being filled is stored by the store that began it; storing never stops."""
        self.ready()
        self.source.gate.clear()
        with connect(self.port) as link, ThreadPoolExecutor(1) as pool:
            slow = pool.submit(fetch, link, "/3000000/slow")
            wait_until(lambda: self.source.asked["/3000000/slow"])
            self.rewrite(CACHE.format(size="32MiB", memory="2MiB"))
            self.reload()
            self.source.gate.set()
            self.assertEqual(slow.result(PATIENCE)[1], self.source.body("/3000000/slow"))
        self.await_storing()
        for link in self.links():
            wait_until(lambda link=link: is_hit(fetch(link, "/3000000/slow")[0]))
        wait_until(lambda: self.stats()["processes"] == 2)
        self.assertEqual(self.stats()["max_size"], 32 << 20)

    def test_removed_and_back(self) -> None:
        self.ready()
        one, other = self.links()
        fetch(one, "/1000/a")
        wait_until(lambda: is_hit(fetch(other, "/1000/a")[0]))
        self.rewrite("", "")
        self.reload()
        self.assertEqual(fetch(one, "/1000/a")[0], "")
        self.rewrite()
        self.reload()
        self.await_storing()
        self.assertTrue(is_hit(fetch(one, "/1000/a")[0]))


class UpgradeTests(CacheCase):
    def test_the_folder_is_handed_over(self) -> None:
        self.rewrite(drain="1s")
        self.ready()
        with connect(self.port) as link:
            fetch(link, "/1000/a")
        self.addCleanup(end, self.ask("upgrade")["pid"])
        wait_until(lambda: self.proxy.process.poll() is not None)
        self.open_before = 0
        self.await_storing()
        with connect(self.port) as link:
            self.assertTrue(is_hit(fetch(link, "/1000/a")[0]))
        self.assertEqual(self.stats()["processes"], 2)
