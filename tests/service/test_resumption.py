"""TLS sessions of real clients, who come back to another worker than the one they were with."""

from __future__ import annotations

import os
import signal
import ssl
from collections import Counter

from tests.scenarios.sharing import owner
from tests.service.processes import ProcessCase
from tests.twistd import connect, end

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
OTHER = '[listeners.other]\nbind = ["127.0.0.1:0"]\ntls = { self_signed = true }\n'


class Client:
    """Offers the session that it got last. ``resumed`` counts (worker before, worker now)."""

    def __init__(self, version: str) -> None:
        self.resumed: Counter[tuple[int, int]] = Counter()
        self.full = 0
        self._rules = ssl.create_default_context()
        self._rules.check_hostname = False
        self._rules.verify_mode = ssl.CERT_NONE
        self._rules.minimum_version = self._rules.maximum_version = VERSIONS[version]
        self._session: ssl.SSLSession | None = None
        self._before = 0

    def visit(self, port: int, workers: list[int]) -> bool:
        """Ask for something on a new connection; whether the session was resumed."""
        with self._rules.wrap_socket(
            connect(port), server_hostname="localhost", session=self._session
        ) as link:
            link.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert link.recv(4096).startswith(b"HTTP/1.1 200 OK")
            now = owner(port, link.getsockname()[1], workers) or 0
            resumed = bool(link.session_reused)
            if resumed:
                self.resumed[self._before, now] += 1
            else:
                self.full += 1
            self._session, self._before = link.session, now
        return resumed

    def both_ways(self, workers: list[int]) -> bool:
        one, other = workers
        return bool(self.resumed[one, other] and self.resumed[other, one])


class ResumptionTests(ProcessCase):
    def clients(self) -> list[Client]:
        return [Client(version) for version in VERSIONS]

    def wander(self, client: Client, port: int) -> None:
        """Come back until each of two workers has taken a session of the other's."""
        workers = self.pids()
        for _ in range(200):
            client.visit(port, workers)
            if client.both_ways(workers):
                return
        self.fail(f"never from one worker to the other: {client.resumed}")

    def test_every_worker_takes_every_ticket(self) -> None:
        self.start()
        for client in self.clients():
            self.wander(client, self.tls_port)
            self.assertEqual(client.full, 1)

    def test_over_the_death_of_workers_and_reloads(self) -> None:
        """Who is made anew has the keys as well; and all have them for a new listener."""
        self.start()
        clients = self.clients()
        for client in clients:
            client.visit(self.tls_port, self.pids())
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
            self.proxy.wait_for(r"worker \d \(pid \d+\) serves")
        self.write(OTHER)
        self.reload()
        for client in clients:
            self.wander(client, self.tls_port)
            self.assertEqual(client.full, 1)
        port = int(self.ask("status")["listeners"][-1].rpartition(":")[2])
        for client in self.clients():
            self.wander(client, port)
            self.assertEqual(client.full, 1)

    def test_not_after_an_upgrade(self) -> None:
        """The new process has keys of its own: one full handshake, and all is as before."""
        self.start()
        clients = self.clients()
        for client in clients:
            self.wander(client, self.tls_port)
        self.addCleanup(end, self.ask("upgrade")["pid"])
        self.proxy.process.wait(30)
        for client in clients:
            client.resumed.clear()
            self.wander(client, self.tls_port)
            self.assertEqual(client.full, 2)
