"""Who may begin a handshake now, and who waits."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.tls.gate import Gate


class Turns:
    """A reactor that turns when it is told to."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def callLater(self, delay: float, call: Callable[[], None]) -> None:
        assert delay == 0
        self.calls.append(call)

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class Handshake:
    def __init__(self) -> None:
        self.admitted = 0
        self.gave_way = False

    def admit(self) -> None:
        self.admitted += 1

    def give_way(self) -> None:
        self.gave_way = True


class GateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Turns()
        self.all = [Handshake() for _ in range(6)]

    def gate(self, concurrent: int, a_turn: int) -> Gate:
        return Gate(self.clock, concurrent, a_turn)

    def enter(self, gate: Gate) -> list[bool]:
        return [gate.enter(handshake) for handshake in self.all]

    def admitted(self) -> list[int]:
        return [handshake.admitted for handshake in self.all]

    def test_so_many_in_a_turn(self) -> None:
        gate = self.gate(100, 2)
        self.assertEqual(self.enter(gate), [True, True, False, False, False, False])
        self.clock.turn()
        self.assertEqual(self.admitted(), [0, 0, 1, 1, 0, 0])
        self.clock.turn()
        self.assertEqual(self.admitted(), [0, 0, 1, 1, 1, 1])
        self.clock.turn()
        self.assertEqual(self.clock.calls, [])

    def test_who_is_in_goes_on(self) -> None:
        gate = self.gate(1, 1)
        self.assertTrue(gate.enter(self.all[0]))
        self.assertTrue(gate.enter(self.all[0]))

    def test_the_one_that_took_longest_gives_way(self) -> None:
        gate = self.gate(2, 100)
        self.assertEqual(self.enter(gate).count(True), 6)
        self.assertEqual([one.gave_way for one in self.all], [True] * 4 + [False] * 2)
        self.assertEqual(repr(gate), "<Gate 2 in progress, 0 waiting>")
        gate.leave(self.all[0])  # as one does that is told to go
        gate.leave(self.all[4])
        self.assertTrue(gate.enter(self.all[1]))
        self.assertFalse(self.all[5].gave_way)

    def test_one_that_waited_takes_a_place_too(self) -> None:
        gate = self.gate(1, 1)
        self.enter(gate)
        gate.leave(self.all[2])  # it hung up in line
        self.clock.turn()
        self.assertEqual(self.admitted(), [0, 1, 0, 0, 0, 0])
        self.assertTrue(self.all[0].gave_way)
        self.clock.turn()
        self.assertEqual(self.admitted(), [0, 1, 0, 1, 0, 0])

    def test_nobody_overtakes(self) -> None:
        gate = self.gate(100, 1)
        self.assertEqual(self.enter(gate).count(True), 1)
        self.clock.turn()
        late = Handshake()
        self.assertFalse(gate.enter(late))

    def test_idle_costs_nothing(self) -> None:
        gate = self.gate(1, 1)
        gate.leave(self.all[0])
        self.assertEqual(self.clock.calls, [])
        gate.enter(self.all[0])
        self.clock.turn()
        self.assertEqual(self.clock.calls, [])
        gate.leave(self.all[0])
        self.assertEqual(self.clock.calls, [])
