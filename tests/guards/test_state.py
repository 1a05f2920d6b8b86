from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.filters.concurrency import ConcurrencyLimit
from txrproxy.filters.rate import RateLimit
from txrproxy.guards.state import (
    LocalState,
    SharedCounts,
    SharedMemory,
    SharedState,
    SharedTable,
)


class Case(SynchronousTestCase):
    def memory(self, workers: int = 2, slots: int = 1024) -> SharedMemory:
        memory = SharedMemory.create(workers, slots)
        self.addCleanup(os.close, memory.fd)
        return memory


class MemoryTests(Case):
    def test_not_ours(self) -> None:
        for content in (b"", b"x" * 64, b"x" * 5000):
            with tempfile.TemporaryFile() as file:
                file.write(content)
                file.flush()
                self.assertRaises(ValueError, SharedMemory, file.fileno())

    def test_of_other_processes(self) -> None:
        """Their interpreter hashes otherwise; nobody would find what the others have counted."""
        script = (
            "import sys; from txrproxy.guards.state import SharedMemory\n"
            "try: SharedMemory(int(sys.argv[1]))\n"
            "except ValueError as error: print(error)"
        )
        fd = self.memory().fd
        done = subprocess.run(
            [sys.executable, "-c", script, str(fd)],
            pass_fds=[fd],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertIn("does not descend from", done.stdout)

    def test_no_such_worker(self) -> None:
        self.assertRaises(ValueError, SharedCounts, self.memory(), b"a", 2)

    def test_local(self) -> None:
        state = LocalState()
        state.table(b"a").put(b"k", 1.0)
        state.counts(b"a").add(b"k", 1)
        self.assertIsNone(state.table(b"a").get(b"k"))
        self.assertEqual(state.counts(b"a").get(b"k"), 0)

    def test_room_for_more(self) -> None:
        """Only places that were ever used are added up."""
        memory = self.memory(64)
        self.assertEqual(memory.used[0], 0)
        counts = [SharedState(memory, place).counts(b"a") for place in (0, 2)]
        self.assertEqual(memory.used[0], 3)
        for each in counts:
            each.add(b"k", 1)
        self.assertEqual([each.get(b"k") for each in counts], [2, 2])
        SharedState(memory, 0)
        self.assertEqual((memory.used[0], counts[1].get(b"k")), (3, 1))


class RateTests(Case):
    def test_workers_count_together(self) -> None:
        memory = self.memory()
        limits = [
            RateLimit(10, 1, 9, SharedState(SharedMemory(memory.fd), worker).table(b"a"))
            for worker in range(2)
        ]
        passed = [not limits[turn % 2].take(b"client", 5.0) for turn in range(30)]
        self.assertEqual(sum(passed), 10)
        self.assertFalse(limits[0].take(b"other", 5.0))
        self.assertEqual(limits[1].take(b"client", 5.11), 0)

    def test_limits_are_told_apart(self) -> None:
        memory = self.memory()
        one, other = SharedTable(memory, b"one"), SharedTable(memory, b"other")
        one.put(b"k", 1.0)
        self.assertIsNone(other.get(b"k"))
        self.assertEqual(one.get(b"k"), 1.0)
        other.put(b"k", 2.0)
        self.assertEqual((one.get(b"k"), other.get(b"k")), (1.0, 2.0))

    def test_a_flood_takes_the_place_of_what_runs_out_first(self) -> None:
        table = SharedTable(self.memory(slots=64), b"a")
        table.put(b"limited", 1e9)
        for number in range(10_000):
            table.put(b"%d" % number, float(number))
            self.assertEqual(table.get(b"limited"), 1e9)
        kept = sum(table.get(b"%d" % number) is not None for number in range(10_000))
        self.assertLess(kept, 64)
        self.assertEqual(table.get(b"9999"), 9999.0)


class CountTests(Case):
    def test_workers_count_together(self) -> None:
        memory = self.memory()
        states = [SharedState(memory, worker) for worker in range(2)]
        one, other = (ConcurrencyLimit(3, state.counts(b"a")) for state in states)
        self.assertEqual([one.enter(b"k"), other.enter(b"k"), one.enter(b"k")], [True] * 3)
        self.assertFalse(other.enter(b"k"))
        self.assertTrue(other.enter(b"x"))
        one.leave(b"k")
        self.assertTrue(other.enter(b"k"))

    def test_a_dead_worker_gives_back_what_it_held(self) -> None:
        memory = self.memory()
        first = SharedState(memory, 0).counts(b"a")
        second = SharedState(memory, 1).counts(b"a")
        for counts in (first, second):
            counts.add(b"k", 5)
        self.assertEqual(second.get(b"k"), 10)
        again = SharedState(memory, 0).counts(b"a")
        self.assertEqual((again.get(b"k"), second.get(b"k")), (5, 5))

    def test_without_a_place_it_counts_for_itself(self) -> None:
        counts = SharedState(self.memory(slots=4), 0).counts(b"a")
        for number in range(50):
            counts.add(b"%d" % number, 1)
        for number in range(50):
            self.assertEqual(counts.get(b"%d" % number), 1)
            counts.add(b"%d" % number, -1)
            self.assertEqual(counts.get(b"%d" % number), 0)
        self.assertEqual(sum(counts._cells), 0)

    def test_processes(self) -> None:
        """What each adds it takes away again, and nothing is left, whoever was in between."""
        memory = self.memory(3)
        children = []
        for worker in range(3):
            child = os.fork()
            if not child:
                status = 1
                try:
                    counts = SharedState(SharedMemory(memory.fd), worker).counts(b"a")
                    for turn in range(3000):
                        counts.add(b"%d" % (turn % 50), 1)
                        if turn >= 500:
                            counts.add(b"%d" % ((turn - 500) % 50), -1)
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        for child in children:
            self.assertEqual(os.waitpid(child, 0)[1], 0)
        counts = SharedCounts(memory, b"a", 0)
        total = sum(counts.get(b"%d" % number) for number in range(50))
        self.assertEqual(sum(memory.counts), 3 * 500)
        self.assertLessEqual(total, 3 * 500)
