"""What balancing looks at in a backend."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.balance.backend import Backend


class BackendTests(SynchronousTestCase):
    def test_new(self) -> None:
        backend = Backend(b"10.0.0.1:8080", b"app.example")
        self.assertEqual(backend.host_line, b"Host: app.example\r\n")
        self.assertEqual((backend.weight, backend.in_use), (1, 0))
        self.assertEqual(repr(backend), "<Backend 10.0.0.1:8080 in use 0>")

    def test_full(self) -> None:
        for limit, in_use, full in ((0, 0, False), (0, 99, False), (2, 1, False), (2, 2, True)):
            backend = Backend(b"a", b"a", max_connections=limit)
            backend.in_use = in_use
            self.assertIs(backend.full, full)
