from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import authority
from tests.tls.handshake import shake
from txrproxy.tls.contexts import ServerContexts
from txrproxy.tls.pem import BadPem
from txrproxy.tls.reload import Reloader
from txrproxy.tls.store import CertificateStore

ROOT = authority()


class ReloadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.clock = Clock()
        self.first = ROOT.issue("a.example")
        store = CertificateStore([self.first.write(self.folder)], Path)
        self.contexts = ServerContexts(store, ["http/1.1"])
        self.changes = 0
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)

    def _observe(self, event: Any) -> None:
        if event.get("log_namespace") == "txrproxy.tls.reload":
            self.logged.append(event["log_format"].format(**event))

    def changed(self) -> None:
        self.changes += 1

    def follow(self, in_thread: Any = maybeDeferred) -> Reloader:
        reloader = Reloader(
            self.contexts, 10.0, self.clock, changed=self.changed, in_thread=in_thread
        )
        reloader.start()
        return reloader

    def renew(self) -> Any:
        newer = ROOT.issue("a.example")
        newer.write(self.folder)
        return newer.certificate

    def served(self) -> Any:
        return shake(self.contexts).certificate

    def test_within_the_interval(self) -> None:
        self.follow()
        for _ in range(3):
            newer = self.renew()
            self.clock.advance(9)
            self.assertNotEqual(self.served(), newer)
            self.clock.advance(1)
            self.assertEqual(self.served(), newer)
        self.assertEqual(self.changes, 3)
        self.assertIn("serving the new", self.logged[0])

    def test_keys_of_tickets_are_turned(self) -> None:
        times: list[float] = []
        self.patch(self.contexts, "turn", times.append)
        self.follow()
        self.clock.pump([10] * 3)
        self.assertEqual(len(times), 3)
        self.assertLessEqual(times[-1], time.monotonic())

    def test_nothing_new(self) -> None:
        self.follow()
        self.clock.pump([10] * 5)
        self.assertEqual((self.changes, self.logged), (0, []))

    def test_one_look_at_a_time(self) -> None:
        looking: list[Deferred[Any]] = []

        def slow(look: Callable[[], Any]) -> Deferred[Any]:
            looking.append(Deferred().addCallback(lambda _: look()))
            return looking[-1]

        self.follow(slow)
        newer = self.renew()
        self.clock.pump([10] * 5)
        self.assertEqual(len(looking), 1)
        looking[0].callback(None)
        self.assertEqual(self.served(), newer)
        self.clock.advance(10)
        self.assertEqual(len(looking), 2)

    def test_stopped(self) -> None:
        reloader = self.follow()
        reloader.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_while_looking(self) -> None:
        looking: list[Deferred[Any]] = []

        def slow(look: Callable[[], Any]) -> Deferred[Any]:
            looking.append(Deferred().addCallback(lambda _: look()))
            return looking[-1]

        reloader = self.follow(slow)
        self.renew()
        self.clock.advance(10)
        reloader.stop()
        looking[0].callback(None)
        self.assertEqual(self.served(), self.first.certificate)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_goes_on_after_a_failure(self) -> None:
        def fails() -> Any:
            raise RuntimeError("disk")

        store: Any = self.contexts.store
        read = store.read
        store.read = fails
        self.follow()
        self.clock.advance(10)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        store.read = read
        newer = self.renew()
        self.clock.advance(10)
        self.assertEqual(self.served(), newer)

    def test_contexts_that_can_not_be_made(self) -> None:
        def fails() -> None:
            raise BadPem("x.pem", "OpenSSL does not serve it")

        contexts: Any = self.contexts
        contexts.update = fails
        self.follow()
        self.renew()
        self.clock.advance(10)
        self.assertEqual(self.served(), self.first.certificate)
        self.assertEqual(
            self.logged, ["x.pem: OpenSSL does not serve it; what was read before is still served"]
        )
