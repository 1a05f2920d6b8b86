"""Reloads and upgrades under load: what runs briefly in the suite, and long in ``tests/long``."""

from tests.service.processes import ProcessCase
from tests.twistd import end, runs, wait_until

MORE = """\
[listeners.more]
bind = ["127.0.0.1:0"]
[pools.other]
backends = ["http://127.0.0.1:9"]
"""


class ReloadScenario(ProcessCase):
    def reload_under_load(self, times: int) -> None:
        """What every kind of client asks is answered, and no tunnel closes."""
        self.start()
        load = self.load()
        for _ in range(2):
            load.everything(self.port, self.tls_port)
        for turn in range(times):
            # A listener and a pool come and go, and so does a worker; the pool in use changes.
            more = MORE if turn % 2 else ""
            self.write(more + "[pools.app.keepalive]\nidle = 7\n" * (turn % 3 == 2), 2 + turn % 2)
            self.reload()
        load.end()
        self.assertEqual(load.failures, [])
        self.assertGreater(load.count, 10 * times)
        self.assertEqual(self.ask("status")["reloads"], times)


class UpgradeScenario(ProcessCase):
    def upgraded(self) -> int:
        """The process id of a new main process, which has taken over."""
        pid: int = self.ask("upgrade")["pid"]
        self.addCleanup(end, pid)
        return pid

    def upgrade_under_load(self, times: int) -> None:
        """The same; a WebSocket goes on in the process that it began with."""
        self.write(drain="300s")
        self.start()
        load = self.load()
        load.everything(self.port, self.tls_port)
        pids = [self.proxy.process.pid]
        for turn in range(times):
            load.websocket(self.port)
            # One for each turn, and three that were there before.
            wait_until(lambda turn=turn: load.upgraded == turn + 4)  # type: ignore[misc]
            load.more(20)
            pids.append(self.upgraded())
        self.assertEqual(len(set(pids)), times + 1)
        self.assertEqual(self.ask("status")["pid"], pids[-1])
        load.more(100)
        self.assertTrue(runs(pids[0]))  # three tunnels are there
        load.end()
        self.assertEqual(load.failures, [])
        # Nothing is left for the old ones to do.
        self.assertEqual(self.proxy.process.wait(30), 0)
        for pid in pids[:-1]:
            wait_until(lambda pid=pid: not runs(pid))  # type: ignore[misc]
        self.assertTrue(runs(pids[-1]))
