"""Reloads under load: the scenario that runs briefly in the suite and long in ``tests/long``."""

from tests.service.processes import ProcessCase

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
            load.kept(self.port)
            load.new(self.port)
            load.tls(self.tls_port)
            load.tunnel(self.port)
        for turn in range(times):
            # A listener and a pool come and go, and so does a worker; the pool in use changes.
            more = MORE if turn % 2 else ""
            self.write(more + "[pools.app.keepalive]\nidle = 7\n" * (turn % 3 == 2), 2 + turn % 2)
            self.reload()
        load.end()
        self.assertEqual(load.failures, [])
        self.assertGreater(load.count, 10 * times)
        self.assertEqual(self.ask("status")["reloads"], times)
