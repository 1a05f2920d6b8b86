"""The bound on checks in flight."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.health.slots import Slots


class SlotsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.slots = Slots(2)
        self.begun: list[str] = []

    def enter(self, *names: str) -> None:
        for name in names:
            self.slots.enter(name, lambda name=name: self.begun.append(name))

    def test_in_order(self) -> None:
        self.enter(*"abcd")
        self.assertEqual(self.begun, ["a", "b"])
        self.slots.leave("b")
        self.assertEqual(self.begun, ["a", "b", "c"])
        self.slots.leave("a")
        self.slots.leave("c")
        self.assertEqual(self.begun, ["a", "b", "c", "d"])
        self.assertEqual(repr(self.slots), "<Slots 1 of 2 held, 0 waiting>")

    def test_who_waits_can_leave(self) -> None:
        self.enter(*"abcd")
        self.slots.leave("c")
        self.slots.leave("a")
        self.assertEqual(self.begun, ["a", "b", "d"])

    def test_leaving_twice_frees_one_place(self) -> None:
        self.enter(*"abcd")
        self.slots.leave("a")
        self.slots.leave("a")
        self.slots.leave("x")
        self.assertEqual(self.begun, ["a", "b", "c"])

    def test_those_who_leave_at_once(self) -> None:
        """Ten thousand in line, each over as soon as it begins: no stack is exhausted."""
        self.enter(*"ab")
        for number in range(10_000):
            self.slots.enter(number, lambda number=number: self.slots.leave(number))
        self.slots.leave("a")
        self.assertEqual(repr(self.slots), "<Slots 1 of 2 held, 0 waiting>")
