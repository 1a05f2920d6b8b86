"""Workers that hang; whole processes are in the second half."""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from tests.config.samples import MINIMAL
from tests.service.processes import ProcessCase
from tests.twistd import ask, connect, get, read_all, wait_until
from txrproxy.config.toml import loads
from txrproxy.service.processes import Handle
from txrproxy.service.pulse import Pulse


class FakeChannel:
    """Has questions, and their answers to come."""

    def __init__(self) -> None:
        self.calls: list[Deferred[Any]] = []

    def call(self, topic: str) -> Deferred[Any]:
        assert topic == "pulse"
        self.calls.append(Deferred())
        return self.calls[-1]


class FakeMaster:
    def __init__(self, timeout: str) -> None:
        self.config = loads(f'{MINIMAL}[server]\nworker_timeout = "{timeout}"\n')
        self.processes: list[Any] = []


class PulseTests(SynchronousTestCase):
    def begin(self, timeout: str = "3s") -> None:
        self.clock = Clock()
        self.master: Any = FakeMaster(timeout)
        self.channels: list[Any] = [FakeChannel(), FakeChannel()]
        for number, channel in enumerate(self.channels, 1):
            self.master.processes.append(Handle(number, channel, 100 + number, 0.0))
        self.one, self.other = self.master.processes
        self.killed: list[Any] = []
        self.patch(os, "kill", self.kill)
        self.pulse = Pulse(self.master, self.clock)
        self.pulse.start()
        self.addCleanup(self.pulse.stop)

    def kill(self, pid: int, number: int) -> None:
        self.assertEqual(number, signal.SIGKILL)
        (worker,) = [each for each in self.master.processes if each.pid == pid]
        self.killed.append(worker)
        self.master.processes.remove(worker)

    def answer(self, *channels: Any) -> None:
        for channel in channels:
            for call in channel.calls:
                if not call.called:
                    call.callback({})

    def test_all_answer(self) -> None:
        self.begin()
        for turn in range(1, 10):
            self.clock.advance(1)
            self.assertEqual([len(each.calls) for each in self.channels], [turn, turn])
            self.answer(*self.channels)
        self.assertEqual(self.killed, [])

    def test_one_does_not(self) -> None:
        """It is not asked again meanwhile, and what it leaves takes nobody's place."""
        self.begin()
        with capturedLogs() as events:
            for _ in range(3):
                self.clock.advance(1)
                self.answer(self.channels[1])
                self.assertEqual(self.killed, [])
            self.clock.advance(1)
        self.assertEqual(self.killed, [self.one])
        (event,) = events
        self.assertEqual(formatEvent(event), "worker 1 (pid 101) has hung for 3.0 s, and is ended")
        self.assertEqual(len(self.channels[0].calls), 1)
        self.answer(*self.channels)
        self.clock.advance(1)
        self.assertEqual(self.killed, [self.one])

    def test_one_is_slow(self) -> None:
        """An answer that comes at last is as good as any."""
        self.begin()
        for _ in range(5):
            self.clock.pump([1, 1, 1])
            self.answer(*self.channels)
        self.assertEqual(self.killed, [])

    def test_all_stood_still(self) -> None:
        """Hours in which no process ran are one question without an answer."""
        self.begin()
        self.clock.advance(1)
        self.clock.advance(7200)
        self.answer(*self.channels)
        self.clock.advance(1)
        self.assertEqual(self.killed, [])

    def test_one_ends_by_itself(self) -> None:
        self.begin()
        self.clock.advance(1)
        self.channels[0].calls[0].errback(ConnectionError())
        self.master.processes.remove(self.one)
        self.clock.pump([1] * 5)
        self.assertEqual(self.killed, [self.other])

    def test_switched_off_and_on(self) -> None:
        """By reloads."""
        self.begin("0s")
        self.clock.pump([10] * 5)
        self.assertEqual(self.channels[0].calls, [])
        self.master.config = FakeMaster("30s").config
        self.clock.advance(10)
        self.clock.advance(10)
        self.assertEqual(len(self.channels[0].calls), 1)
        self.pulse.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Hang(Resource):
    """Never comes back, as a module that somebody mounts may."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        while True:
            pass


HANGING = """\
[[routes]]
name = "hang"
match = { path = "/hang" }
resource = "tests.service.test_pulse:hang"
"""
hang = Hang()


class HangTests(ProcessCase):
    def write(self, more: str = "", **changes: Any) -> None:  # type: ignore[override]
        super().write(HANGING + more, **changes)
        text = self.config.read_text()
        text = text.replace("[server]\n", '[server]\nworker_timeout = "3s"\n')
        self.config.write_text(text)

    def found(self, pid: str = r"\d+") -> None:
        ended = self.proxy.wait_for(rf"worker (\d) \(pid {pid}\) has hung for 3.0 s, and is ended")
        self.proxy.wait_for(rf"worker {ended[1]} .* was killed by SIGKILL; a new one follows")
        self.proxy.wait_for(rf"worker {ended[1]} \(pid \d+\) serves")

    def test_stopped(self) -> None:
        """What waited for it is served, by another or by its successor."""
        self.start()
        pid = self.pids()[0]
        os.kill(pid, signal.SIGSTOP)
        links = [connect(self.port) for _ in range(8)]
        for link in links:
            ask(link, close=True)
        self.found(str(pid))
        for link in links:
            self.assertIn(b"200 OK", read_all(link))
            link.close()

    def test_busy(self) -> None:
        self.start()
        with connect(self.port) as link:
            ask(link, "/hang")
            self.found()
            self.assertEqual(link.recv(1000), b"")
        self.assertIn(b"200 OK", get(self.port))
        self.assertEqual(self.ask("status")["restarts"], 1)

    def test_a_reload_waits_no_longer(self) -> None:
        self.start()
        os.kill(self.pids()[1], signal.SIGSTOP)
        self.write('[pools.other]\nbackends = ["http://127.0.0.1:9"]\n')
        self.reload()
        wait_until(lambda: len(self.pids()) == 2)
