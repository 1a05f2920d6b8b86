"""A worker inside this process, told what to do; ``test_master`` has those that are processes."""

from __future__ import annotations

import os

from tests.service.test_memory import packed
from tests.service.test_plane import Case
from txrproxy.service.worker import Worker
from txrproxy.transport.channel import local_pair


class WorkerTests(Case):
    def test_over_a_channel(self) -> None:
        """From the first word to the last, as the main process would say them."""
        master, end = local_pair()
        worker = Worker(end, self.reactor)
        config = self.config()
        groups = self.listeners.prepare(config, 2)
        self.listeners.take(groups, 10)
        for key, group in groups.items():
            fds = [os.dup(sock.fileno()) for sock in group.sockets]
            body = {"keys": [key] * 2, "indices": [0, 1], "shared": [False] * 2, "fds": fds}
            self.successResultOf(master.call("sockets", body))
        self.successResultOf(master.call("prepare", {"fds": [packed(config)], "start": 0}))
        self.successResultOf(master.call("commit"))
        self.successResultOf(master.call("share", {"mine": 0, "of": 1}))
        self.assertEqual(self.successResultOf(master.call("status"))["connections"], 0)
        self.assertEqual(worker.drain_timeout, 30.0)
        self.successResultOf(master.call("wind down"))
        assert worker.plane.graph is not None
        for site in worker.plane.graph.listeners.values():
            self.assertTrue(site.service.draining)
        self.successResultOf(master.call("deafen"))
        self.assertEqual(self.reactor.getReaders(), [])
        self.successResultOf(master.call("drain", {"timeout": 1, "softly": False}))
