"""Threads of the cache's own."""

from __future__ import annotations

import threading

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.cache.jobs import Inline, Jobs


def deliver(function: object, *arguments: object) -> None:
    function(*arguments)  # type: ignore[operator]


class JobsTests(SynchronousTestCase):
    def test_in_order(self) -> None:
        jobs = Jobs(deliver)
        results: list[object] = []
        for number in range(100):
            jobs.submit(lambda number=number: number, lambda r, e: results.append(r))
        jobs.close()
        self.assertEqual(results, list(range(100)))

    def test_errors_are_results(self) -> None:
        for jobs in (Jobs(deliver), Inline()):
            results: list[object] = []
            jobs.submit(lambda: 1 // 0, lambda r, e, to=results: to.append((r, type(e))))
            jobs.close()
            self.assertEqual(results, [(None, ZeroDivisionError)])

    def test_errors_nobody_waits_for(self) -> None:
        jobs = Jobs(deliver)
        jobs.submit(lambda: 1 // 0)
        jobs.close()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertRaises(ZeroDivisionError, Inline().submit, lambda: 1 // 0)

    def test_no_more_threads_than_allowed(self) -> None:
        jobs = Jobs(deliver, 3)
        seen: list[object] = []
        barrier = threading.Barrier(3, timeout=30)
        for _ in range(9):
            jobs.submit(barrier.wait, lambda r, e: seen.append((threading.get_ident(), e)))
        jobs.close()
        self.assertEqual(len({ident for ident, _ in seen}), 3)
        self.assertEqual({e for _, e in seen}, {None})

    def test_idle(self) -> None:
        """What is done in between ends when it says so, and when it fails."""
        left = [3]
        done = threading.Event()

        def idle() -> bool:
            left[0] -= 1
            if left[0] <= 0:
                done.set()
            return left[0] > 0

        jobs = Jobs(deliver, idle=idle)
        jobs.submit(lambda: None)
        self.assertTrue(done.wait(30))
        jobs.close()
        jobs = Jobs(deliver, idle=lambda: 1 // 0)
        jobs.submit(lambda: None)
        jobs.close()
        self.assertGreaterEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_end(self) -> None:
        """Threads end by themselves; what comes after that is still done."""
        for count in (1, 3):
            jobs = Jobs(deliver, count)
            done = threading.Semaphore(0)
            for _ in range(5):
                jobs.submit(lambda: None, lambda r, e, done=done: done.release())
            threads = list(jobs._threads)
            jobs.end()
            for thread in threads:
                thread.join(30)
                self.assertFalse(thread.is_alive())
            jobs.submit(lambda: None, lambda r, e, done=done: done.release())
            for _ in range(6):
                self.assertTrue(done.acquire(timeout=30))
            for thread in list(jobs._threads):
                thread.join(30)
            self.assertEqual(jobs._threads, [])

    def test_inline_idle(self) -> None:
        left = [3]

        def idle() -> bool:
            left[0] -= 1
            return left[0] > 0

        Inline(idle).submit(lambda: None)
        self.assertEqual(left, [0])
