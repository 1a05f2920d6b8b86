"""Backends that die, hang, flap and lie under load, with real processes: ``tests/faults.py``."""

import asyncio

from twisted.trial.unittest import SynchronousTestCase

from tests.faults import (
    HEALTH,
    OUTLIER,
    PATIENT,
    RATE,
    RETRY,
    flap,
    hang,
    kill,
    lie,
    lose_all,
    slow_down,
    standing,
)

LONG = OUTLIER.format(eject="60s")
SHORT = OUTLIER.format(eject="250ms")
IMPATIENT = '\n[pools.app.timeouts]\nfirst_byte = "1s"\n'


class FaultCase(SynchronousTestCase):
    """``count`` is how many requests each phase of a fault takes."""

    count = RATE // 2

    def suffer(self, fault, pool, *details, workers=0):
        """The stand, after this happened to it."""

        async def run():
            async with standing(pool, workers) as stand:
                await fault(stand, self.count, *details)
            return stand

        return asyncio.run(run())

    def nothing_failed(self, stand):
        self.assertEqual(stand.load.failures(), {})


class KillTests(FaultCase):
    def test_nobody_notices(self):
        """And checks bring it back, long before its ejection would end."""
        self.nothing_failed(self.suffer(kill, PATIENT + LONG + RETRY, "is unhealthy"))

    def test_nobody_notices_with_workers(self):
        self.nothing_failed(self.suffer(kill, PATIENT + SHORT + RETRY, workers=2))

    def test_without_checks(self):
        self.nothing_failed(self.suffer(kill, SHORT + RETRY))

    def test_with_checks_alone(self):
        self.nothing_failed(self.suffer(kill, PATIENT + RETRY))

    def test_again_and_again(self):
        for pool in (PATIENT + SHORT + RETRY, SHORT + RETRY):
            self.nothing_failed(self.suffer(flap, pool))


class HangTests(FaultCase):
    def test_with_checks(self):
        """Nothing is sent there as long as they fail, and their passing brings it back."""
        checked = HEALTH.format(timeout="500ms")
        stand = self.suffer(hang, checked + LONG + RETRY + IMPATIENT, "unhealthy")
        self.nothing_failed(stand)
        self.assertEqual(stand.tries("out", stand.backends[1]), 0)

    def test_without_checks(self):
        """One request at a time finds out whether it is back."""
        pool = OUTLIER.format(eject="500ms") + RETRY + IMPATIENT
        stand = self.suffer(hang, pool, "left out")
        self.nothing_failed(stand)
        trials = stand.tries("out", stand.backends[1])
        self.assertLessEqual(trials, len(stand.load.of("out")) / 20)


class LieTests(FaultCase):
    def test_it_is_found_out(self):
        for mode in ("reset", "503"):
            stand = self.suffer(lie, PATIENT + SHORT + RETRY, mode)
            self.nothing_failed(stand)
            trials = stand.tries("out", stand.backends[1])
            self.assertLessEqual(trials, len(stand.load.of("out")) / 20)

    def test_responses_that_are_cut(self):
        """They can not be saved, but they end soon."""
        stand = self.suffer(lie, PATIENT + SHORT + RETRY, "cut")
        load = stand.load
        self.assertLess(sum(load.failures("lying").values()), len(load.of("before")) / 10)
        self.assertLessEqual(sum(load.failures("out").values()), len(load.of("out")) / 10)

    def test_what_it_says_itself_is_its_own(self):
        async def run():
            async with standing(PATIENT + SHORT + RETRY) as stand:
                await stand.backends[1].mode("500")
                await stand.load.settle("500")
                await stand.load.more(self.count)
            return stand

        stand = asyncio.run(run())
        failures = stand.load.failures("500")
        self.assertLessEqual(set(failures), {"GET 500", "PUT 500", "POST 500"})
        self.assertAlmostEqual(stand.load.shares("500")["b"], 1 / 3, 1)


class NobodyTests(FaultCase):
    def test_all_die_and_return(self):
        for workers in (0, 2):
            stand = self.suffer(lose_all, PATIENT + SHORT + RETRY, workers=workers)
            load = stand.load
            self.assertEqual(load.failures("before"), {})
            self.assertLessEqual(set(load.failures("none")), {"GET 502", "PUT 502", "POST 502"})
            self.assertEqual(load.failures("back"), {})

    def test_without_panic(self):
        """Checks alone bring them back, in an interval of 50 requests; or a slow machine's two."""
        pool = "panic_threshold = 0.0\n" + PATIENT + LONG + RETRY
        load = self.suffer(lose_all, pool, True).load
        self.assertLess(sum(load.failures("back").values()), RATE / 2)


class SlowTests(FaultCase):
    def share(self, policy):
        stand = self.suffer(slow_down, f'balance = "{policy}"\n')
        self.nothing_failed(stand)
        return stand.load.shares("slow").get("b", 0.0)

    def test_policies_that_look_at_it(self):
        for policy in ("ewma", "power_of_two", "least_connections"):
            self.assertLess(self.share(policy), 0.15, policy)

    def test_policies_that_do_not(self):
        self.assertAlmostEqual(self.share("round_robin"), 1 / 3, 1)
