"""The bound on client connections."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.transport.limit import ConnectionLimit


class Port:
    connected = True
    reading = True

    def stopReading(self) -> None:
        self.reading = False

    def startReading(self) -> None:
        self.reading = True


class ConnectionLimitTests(SynchronousTestCase):
    def test_all_ports_stop_accepting_at_the_bound_and_go_on_below_it(self) -> None:
        limit, ports = ConnectionLimit(2), [Port(), Port()]
        for port in ports:
            limit.add(port)
        limit.opened()
        self.assertEqual([True, True], [port.reading for port in ports])
        limit.opened()
        self.assertEqual([False, False], [port.reading for port in ports])
        limit.closed()
        self.assertEqual([True, True], [port.reading for port in ports])

    def test_a_port_that_was_closed_meanwhile_is_left_alone(self) -> None:
        limit, port = ConnectionLimit(1), Port()
        limit.add(port)
        limit.opened()
        port.connected = False
        limit.closed()
        self.assertFalse(port.reading)

    def test_no_bound(self) -> None:
        limit, port = ConnectionLimit(0), Port()
        limit.add(port)
        for _ in range(1000):
            limit.opened()
        self.assertTrue(port.reading)
        self.assertEqual(1000, limit.count)

    def test_another_bound(self) -> None:
        limit, port = ConnectionLimit(3), Port()
        limit.add(port)
        limit.opened()
        limit.opened()
        limit.change(2)
        self.assertFalse(port.reading)
        late = Port()
        limit.add(late)
        self.assertFalse(late.reading)
        limit.change(0)
        self.assertTrue(port.reading and late.reading)
        limit.remove(port)
        limit.change(1)
        self.assertTrue(port.reading)
        self.assertFalse(late.reading)
