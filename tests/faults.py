"""Faults of backends under load, with real processes: the pieces, and what is done with them.

::

    load ──200 requests a second──▶ twistd txrproxy ──▶ three backends (tests/faulty.py)
                                                         └── killed, stopped, told to fail

A :class:`Stand` is all of it. Time is measured in requests that were answered, so that a slow
machine makes a run longer and not wrong. The functions from :func:`kill` on are one fault each;
the scenarios run them short, ``tests/long`` longer, and ``benchmarks/faults.py`` measures them.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from attrs import define, field, frozen

from tests.twistd import PATIENCE, Twistd

RATE = 200  # requests a second
MOST = 400  # requests at a time
PROGRAM = Path(__file__).with_name("faulty.py")

CONFIG = """\
version = 1
[server]
workers = {workers}
drain_timeout = "2s"
[log]
access = {{ path = "access.log", format = "json" }}
[listeners.http]
bind = ["127.0.0.1:0"]
[pools.app]
backends = [{backends}]
{pool}
[[routes]]
name = "all"
pool = "app"
"""
HEALTH = """
[pools.app.health]
path = "/healthz"
interval = "250ms"
timeout = "{timeout}"
rise = 1
fall = 2
"""
OUTLIER = """
[pools.app.outlier]
consecutive_errors = 3
eject = "{eject}"
"""
RETRY = """
[pools.app.retry]
budget = 1.0
non_idempotent = true
"""
PATIENT = HEALTH.format(timeout="5s")  # a busy machine looks like no fault


class Backend:
    """A process that serves; its port stays its own while it is dead."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._reserved.getsockname()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log_name(self) -> str:
        return "{}:{}".format(*self.address)

    async def start(self) -> None:
        """Returns when it accepts connections."""
        words = [sys.executable, str(PROGRAM), str(self.address[1]), self.name]
        self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        await until(self._accepts, f"{self.name} to listen")

    def _accepts(self) -> bool:
        with suppress(OSError), socket.create_connection(self.address, PATIENCE):
            return True
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def hang(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def mode(self, text: str) -> None:
        """Do this from now on."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(f"GET /mode/{text} HTTP/1.1\r\n\r\n".encode())
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        writer.close()

    def end(self) -> None:
        self.kill()
        self._reserved.close()


@frozen
class Answer:
    """``status`` is 0 for none, ``backend`` is empty where none of them answered."""

    phase: str
    began: float
    seconds: float
    status: int
    backend: str
    what: str  # that was wrong with it


class Load:
    """GET, PUT and POST, whatever becomes of those before; the bodies come back."""

    def __init__(self, port: int) -> None:
        self.answers: list[Answer] = []
        self.phase = "begin"
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._number = 0
        self._draw = random.Random(1).choice  # in turn would be in step with who balances in turn

    async def run(self) -> None:
        """Until cancelled."""
        due = time.monotonic()
        while True:
            due = max(due + 1 / RATE, time.monotonic() - 0.1)
            await asyncio.sleep(due - time.monotonic())
            if len(self._running) < MOST:
                task = asyncio.create_task(self._one())
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Wait for those under way."""
        if self._running:
            await asyncio.wait(self._running, timeout=PATIENCE)
        for task in self._running:
            task.cancel()
        for _, writer in self._idle:
            writer.close()

    async def _one(self) -> None:
        self._number += 1
        method = self._draw((b"GET", b"PUT", b"POST"))
        body = b"" if method == b"GET" else b"%d " % self._number * 200
        length = b"" if method == b"GET" else b"Content-Length: %d\r\n" % len(body)
        phase, began = self.phase, time.monotonic()
        head = b"%b /%b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method, phase.encode(), length)
        status, backend, what = 0, "", ""
        try:
            async with asyncio.timeout(PATIENCE):
                status, content = await self._exchange(head + body)
            name, _, rest = content.partition(b" ")
            if status != 200:
                what = f"{method.decode()} {status}"
            elif rest != body:
                what = f"{method.decode()} another body"
            if len(name) == 1:
                backend = name.decode()
        except (OSError, EOFError, TimeoutError) as error:
            what = f"{method.decode()} {error!r}"
        seconds = time.monotonic() - began
        self.answers.append(Answer(phase, began, seconds, status, backend, what))

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        kept = False
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            content = await reader.readexactly(length)
            kept = b"connection: close" not in head.lower()
        finally:
            if kept:
                self._idle.append((reader, writer))
            else:
                writer.close()
        return int(head.split(b" ")[1]), content

    # What came of it.

    async def more(self, count: int, backend: str = "") -> None:
        """Wait for so many more answers, or so many from this backend."""
        found = 0
        at = len(self.answers)

        def enough() -> bool:
            nonlocal found, at
            found += sum(backend in ("", answer.backend) for answer in self.answers[at:])
            at = len(self.answers)
            return found >= count

        await until(enough, f"{count} answers of {backend or 'anyone'}", PATIENCE + count / RATE)

    async def settle(self, phase: str) -> None:
        """Those that begin from now on are of this phase; wait until all others have ended."""
        self.phase = phase
        if others := set(self._running):
            await asyncio.wait(others, timeout=PATIENCE)

    def of(self, phase: str) -> list[Answer]:
        return [answer for answer in self.answers if answer.phase == phase]

    def failures(self, phase: str = "") -> dict[str, int]:
        """How many went wrong, by what did."""
        found = self.of(phase) if phase else self.answers
        return dict(Counter(answer.what for answer in found if answer.what))

    def shares(self, phase: str) -> dict[str, float]:
        """Of each backend, of the answers that came from one."""
        found = Counter(answer.backend for answer in self.of(phase) if answer.backend)
        return {name: count / found.total() for name, count in found.items()}


@define(eq=False)
class Stand:
    """A proxy before backends, under load."""

    backends: list[Backend]
    proxy: Twistd
    load: Load
    records: list[dict[str, str]] = field(factory=list)  # the access log, once all has ended

    async def says(self, pattern: str) -> None:
        """Wait for a line of the proxy's log that was not looked at yet."""
        await asyncio.to_thread(self.proxy.wait_for, pattern)

    def tries(self, phase: str, backend: Backend) -> int:
        """Requests of a phase that failed at a backend, though another one may have saved them."""
        return sum(
            backend.log_name + " " in record.get("tries", "")
            for record in self.records
            if record["target"] == f"/{phase}"
        )


@asynccontextmanager
async def standing(pool: str, workers: int = 0) -> AsyncIterator[Stand]:
    """A stand with three backends, a, b and c; the load runs as long as the block does."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        backends = [Backend(name) for name in "abc"]
        urls = ", ".join(f'"http://{backend.log_name}"' for backend in backends)
        config = folder / "faults.toml"
        config.write_text(CONFIG.format(workers=workers, backends=urls, pool=pool))
        proxy = None
        try:
            await asyncio.gather(*(backend.start() for backend in backends))
            proxy = Twistd(config)
            load = Load(proxy.port())
            running = asyncio.create_task(load.run())
            try:
                await load.more(20)
                stand = Stand(backends, proxy, load)
                yield stand
            finally:
                running.cancel()
                await load.close()
            proxy.end()
            lines = (folder / "access.log").read_text().splitlines()
            stand.records = [json.loads(line) for line in lines]
        finally:
            if proxy is not None:
                proxy.kill()
            for backend in backends:
                backend.end()


async def until(
    done: Callable[[], object], what: str = "something", patience: float = PATIENCE
) -> None:
    """Wait for what other processes do."""
    deadline = time.monotonic() + patience
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")
        await asyncio.sleep(0.01)


# The faults. Each takes about twice `count` requests a phase, of which the load records the names.


async def kill(stand: Stand, count: int, line: str = "") -> None:
    """SIGKILL to one of three, and another process in its place once the log has such a line."""
    load, victim = stand.load, stand.backends[1]
    load.phase = "before"
    await load.more(count)
    load.phase = "killed"
    victim.kill()
    await load.more(count)
    if line:
        await stand.says(line)
    load.phase = "restarted"
    await victim.start()
    await load.more(count // 5, victim.name)


async def hang(stand: Stand, count: int, what: str) -> None:
    """SIGSTOP: it still accepts connections, and answers nothing. SIGCONT when the log has it."""
    load, victim = stand.load, stand.backends[1]
    load.phase = "before"
    await load.more(count)
    load.phase = "hung"
    victim.hang()
    await stand.says(f"backend {victim.log_name} is {what}")
    await load.settle("out")
    await load.more(count)
    load.phase = "back"
    victim.go_on()
    await load.more(count // 5, victim.name)


async def flap(stand: Stand, count: int) -> None:
    """Killed and restarted, again and again."""
    load, victim = stand.load, stand.backends[1]
    load.phase = "flapping"
    for _ in range(5):
        victim.kill()
        await load.more(count // 5)
        await victim.start()
        await load.more(count // 5)
    load.phase = "steady"
    await load.more(count // 5, victim.name)


async def lie(stand: Stand, count: int, mode: str) -> None:
    """One passes its checks and fails all else, until it is left out for that; then no more."""
    load, victim = stand.load, stand.backends[1]
    load.phase = "before"
    await load.more(count)
    load.phase = "lying"
    await victim.mode(mode)
    await stand.says(f"backend {victim.log_name} is left out")
    await load.settle("out")
    await load.more(count)
    await victim.mode("ok")
    load.phase = "back"
    await load.more(count // 5, victim.name)


async def lose_all(stand: Stand, count: int, unhealthy: bool = False) -> None:
    """All killed, and all back; or only when checks have failed for each."""
    load = stand.load
    load.phase = "before"
    await load.more(count)
    await load.settle("none")
    for backend in stand.backends:
        backend.kill()
    await load.more(count)
    for _ in stand.backends if unhealthy else ():
        await stand.says("is unhealthy")
    await asyncio.gather(*(backend.start() for backend in stand.backends))
    load.phase = "back"
    for backend in stand.backends:
        await load.more(count // 10, backend.name)


async def slow_down(stand: Stand, count: int) -> None:
    """One takes much longer than the others."""
    load = stand.load
    load.phase = "before"
    await load.more(count)
    await stand.backends[1].mode("slow/0.2")
    load.phase = "learning"
    await load.more(count // 2)
    load.phase = "slow"
    await load.more(count)
