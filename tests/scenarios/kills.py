"""Workers killed under load, again and again: briefly in the suite, a minute in ``tests/long``."""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import cycle

from tests.scenarios.sharing import owner
from tests.service.load import REQUEST, response
from tests.service.processes import ProcessCase
from tests.twistd import PATIENCE, connect


class Kept(threading.Thread):
    """A client that keeps its connection, and knows which worker has it.

    ``lost`` is who had a connection that ended in other than good order.
    """

    def __init__(self, port: int, pids: set[int]) -> None:
        super().__init__(daemon=True)
        self.lost: list[int] = []
        self.over = threading.Event()
        self._port = port
        self._pids = pids
        self.start()

    def run(self) -> None:
        while not self.over.is_set():
            pid = None
            try:
                with connect(self._port) as link:
                    client = link.getsockname()[1]
                    while not self.over.wait(0.005):
                        link.sendall(REQUEST % b"")
                        response(link)
                        pid = pid or owner(self._port, client, set(self._pids))
            except (OSError, AssertionError):
                if pid is not None:
                    self.lost.append(pid)

    def end(self) -> None:
        self.over.set()
        self.join(PATIENCE)


class KillScenario(ProcessCase):
    def kill_under_load(self, times: int, every: float) -> list[float]:
        """Kill a worker in turn, so many seconds apart; how long each was missed.

        Who had no connection to it does not notice, and who tries again is served.
        """
        self.start()
        known = set(self.pids())
        load = self.load()
        for _ in range(3):
            load.retrying(self.port)
        load.retrying(self.tls_port, tls=True)
        kept = [Kept(self.port, known) for _ in range(4)]
        for each in kept:
            self.addCleanup(each.end)
        load.more(20)
        killed = []
        missed = []
        due = time.monotonic()
        for place in cycle(range(self.workers)):
            due = max(due + every, time.monotonic())
            while (left := due - time.monotonic()) > 0:
                time.sleep(left)
            victim = self.pids()[place]
            began = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
            self.proxy.wait_for(rf"worker \d \(pid {victim}\) was killed by SIGKILL; a new one")
            new = int(self.proxy.wait_for(r"worker \d \(pid (\d+)\) serves")[1])
            missed.append(time.monotonic() - began)
            known.add(new)
            if len(killed) == times:
                break
        load.more(20)
        for each in kept:
            each.end()
        load.end()
        self.assertEqual(load.failures, [])
        self.assertNotIn("ConnectionRefusedError", " ".join(load.retried))
        self.assertEqual({pid for each in kept for pid in each.lost} - set(killed), set())
        status = self.ask("status")
        self.assertEqual((len(status["workers"]), status["restarts"]), (self.workers, times))
        return missed
