from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.filters.bounded import Bounded


class BoundedTests(SynchronousTestCase):
    def test_a_flood_does_not_grow_it(self) -> None:
        table: Bounded[int] = Bounded(100)
        for number in range(10_000):
            table.put(b"%d" % number, number)
            self.assertLessEqual(len(table), 200)
        for number in range(9_900, 10_000):
            self.assertEqual(table.get(b"%d" % number), number)

    def test_what_is_in_use_stays(self) -> None:
        table: Bounded[int] = Bounded(10)
        table.put(b"mine", 7)
        for number in range(1000):
            table.put(b"%d" % number, number)
            self.assertEqual(table.get(b"mine"), 7)

    def test_forgetting(self) -> None:
        table: Bounded[int] = Bounded(2)
        for key in (b"a", b"b", b"c"):
            table.put(key, 1)
        table.discard(b"a")
        table.discard(b"c")
        table.discard(b"nothing")
        self.assertEqual([table.get(key) for key in (b"a", b"b", b"c")], [None, 1, None])
        table.clear()
        self.assertEqual((len(table), table.get(b"b")), (0, None))

    @given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.integers())))
    def test_what_it_has_is_the_last_that_was_put(self, puts: list[tuple[bytes, int]]) -> None:
        table: Bounded[int] = Bounded(2)
        last: dict[bytes, int] = {}
        for key, value in puts:
            table.put(key, value)
            last[key] = value
            self.assertEqual(table.get(key), value)
            for other, known in last.items():
                self.assertIn(table.get(other), (None, known))
