"""The tier in memory: the bound, and what goes first."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.cache.memory import Memory


class MemoryTests(SynchronousTestCase):
    def test_keeps(self) -> None:
        memory: Memory[str, int] = Memory(100)
        self.assertIsNone(memory.get("a"))
        self.assertTrue(memory.put("a", 1, 40))
        self.assertEqual((memory.get("a"), memory.peek("a"), memory.size), (1, 1, 40))
        self.assertTrue(memory.put("a", 2, 10))
        self.assertEqual((memory.get("a"), memory.size, len(memory)), (2, 10, 1))
        self.assertIn("a", memory)
        self.assertEqual(list(memory.values()), [2])

    def test_too_large(self) -> None:
        """What does not fit takes the place of nothing, and what it replaces is old."""
        memory: Memory[str, int] = Memory(100)
        memory.put("a", 1, 40)
        self.assertFalse(memory.put("a", 2, 101))
        self.assertNotIn("a", memory)
        self.assertEqual(memory.size, 0)

    def test_unused_goes_first(self) -> None:
        memory: Memory[str, int] = Memory(30)
        for key in "abc":
            memory.put(key, 0, 10)
        memory.get("a")
        memory.put("d", 0, 10)
        self.assertEqual([key for key in "abcd" if key in memory], ["a", "c", "d"])
        self.assertEqual(memory.evicted, 1)

    def test_a_scan_leaves_what_is_hot(self) -> None:
        memory: Memory[int, int] = Memory(100)
        for key in range(10):
            memory.put(key, key, 10)
        for scanned in range(100, 200):
            for key in range(8):
                self.assertEqual(memory.get(key), key)
            memory.put(scanned, scanned, 10)

    def test_all_used(self) -> None:
        """The hand goes round once: everything has had its chance then."""
        memory: Memory[str, int] = Memory(30)
        for key in "abc":
            memory.put(key, 0, 10)
            memory.get(key)
        memory.put("d", 0, 10)
        self.assertEqual([key for key in "abcd" if key in memory], ["b", "c", "d"])

    def test_growing_in_place(self) -> None:
        """What is put in is not what makes room for itself."""
        memory: Memory[str, int] = Memory(30)
        for key in "abc":
            memory.put(key, 0, 10)
        memory.put("a", 0, 25)
        self.assertEqual([key for key in "abc" if key in memory], ["a"])

    def test_remove(self) -> None:
        memory: Memory[str, int] = Memory(30)
        for key in "abc":
            memory.put(key, 0, 10)
        for key in "bacx":
            memory.remove(key)
        self.assertEqual((len(memory), memory.size), (0, 0))
        memory.put("d", 0, 30)
        memory.put("e", 0, 30)
        self.assertNotIn("d", memory)
        memory.clear()
        self.assertEqual((len(memory), memory.size), (0, 0))
        memory.put("e", 0, 30)
        self.assertIn("e", memory)

    @given(st.lists(st.tuples(st.sampled_from("pgr"), st.integers(0, 9), st.integers(0, 60))))
    @settings(max_examples=200, deadline=None)
    def test_the_bound_holds(self, steps: list[tuple[str, int, int]]) -> None:
        memory: Memory[int, int] = Memory(100)
        weights: dict[int, int] = {}
        for what, key, weight in steps:
            if what == "p":
                memory.put(key, weight, weight)
                weights[key] = weight
                self.assertIn(key, memory)
            elif what == "g":
                memory.get(key)
            else:
                memory.remove(key)
            self.assertLessEqual(memory.size, 100)
            self.assertEqual(memory.size, sum(memory.values()))
            self.assertEqual(memory.size, sum(w for k, w in weights.items() if k in memory))
