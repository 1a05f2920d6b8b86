"""What balancing looks at in a backend."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.balance.backend import Backend, State


class BackendTests(SynchronousTestCase):
    def test_new(self) -> None:
        backend = Backend(b"10.0.0.1:8080", b"app.example")
        self.assertEqual(backend.host_line, b"Host: app.example\r\n")
        self.assertEqual((backend.weight, backend.share, backend.in_use), (1, 1.0, 0))
        self.assertEqual(repr(backend), "<Backend 10.0.0.1:8080 in use 0>")

    def test_room(self) -> None:
        """Connections, requests in line, and requests, as they are and as they may be."""
        for limits, in_use, waiting, full, free, closed in (
            ((0, 0, 0), 99, 99, False, True, False),
            ((2, 9, 0), 1, 0, False, True, False),
            ((2, 9, 0), 2, 0, True, False, False),
            ((2, 3, 0), 2, 3, True, False, True),
            ((2, 0, 0), 2, 0, True, False, True),
            ((2, 9, 4), 2, 2, True, False, True),
            ((0, 9, 4), 3, 0, False, True, False),
            ((0, 9, 4), 4, 0, False, False, True),
        ):
            connections, pending, requests = limits
            backend = Backend(
                b"a", b"a", 1, connections, max_pending=pending, max_requests=requests
            )
            backend.in_use, backend.waiting = in_use, waiting
            found = (backend.full, backend.free, backend.closed)
            self.assertEqual(found, (full, free, closed), (limits, in_use, waiting))

    def test_available(self) -> None:
        for state, weight, healthy, ejected, usable, available in (
            (State.UP, 1, True, False, True, True),
            (State.UP, 1, True, True, True, False),
            (State.UP, 1, False, False, True, False),
            (State.UP, 1, None, False, False, False),
            (State.UP, 0, True, False, False, False),
            (State.DRAIN, 1, True, False, False, False),
            (State.DOWN, 1, True, False, False, False),
        ):
            backend = Backend(b"a", b"a", weight, healthy=healthy)
            backend.state, backend.ejected = state, ejected
            self.assertEqual((backend.usable, backend.available), (usable, available))
