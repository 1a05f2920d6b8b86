from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.names.lookup import Found, Target
from txrproxy.names.question import Unanswered
from txrproxy.names.watch import Watch


def targets(*numbers):
    return tuple(Target(4, bytes([10, 0, n // 256, n % 256]), 80) for n in numbers)


class WatchTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.asked = []
        self.changes = []
        self.log = []
        globalLogPublisher.addObserver(self.log.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.log.append)
        self.watch = Watch("app", self.look_up, 30, self.clock, lambda: 0.0)
        self.watch.on_change = lambda: self.changes.append(self.watch.targets)

    async def look_up(self):
        self.asked.append(Deferred())
        return await self.asked[-1]

    def say(self, answer):
        """Answer the look-up that is on its way."""
        if isinstance(answer, Exception):
            self.asked[-1].errback(answer)
        else:
            self.asked[-1].callback(answer if isinstance(answer, Found) else Found(answer))

    def logged(self):
        found = [
            formatEvent(event) for event in self.log if event["log_namespace"].startswith("txr")
        ]
        self.log.clear()
        return found

    def again_after(self):
        """Seconds until the next look-up; it is begun."""
        (call,) = self.clock.getDelayedCalls()
        wait = call.getTime() - self.clock.seconds()
        count = len(self.asked)
        self.clock.advance(wait)
        self.assertEqual(len(self.asked), count + 1)
        return wait

    def test_looks_up_again(self):
        self.watch.start()
        self.assertNoResult(self.watch.first)
        self.say(targets(1))
        self.successResultOf(self.watch.first)
        self.assertEqual(self.again_after(), 30)
        self.say(targets(1))
        self.assertEqual(self.again_after(), 30)
        self.say(targets(1, 2))
        self.assertEqual(self.changes, [targets(1), targets(1, 2)])
        self.assertEqual(self.logged(), [])
        self.assertEqual(repr(self.watch), "<Watch app: 2 targets>")

    def test_jitter(self):
        waits = []
        for fraction in (0.0, 0.5, 1.0):
            self.clock = Clock()
            watch = Watch("app", self.look_up, 30, self.clock, lambda fraction=fraction: fraction)
            watch.start()
            self.say(targets(1))
            waits.append(self.again_after())
        self.assertEqual(waits, [30, 28.5, 27])

    def test_a_failure_keeps_the_answer_and_is_tried_again_sooner(self):
        self.watch.start()
        self.say(targets(1))
        self.again_after()
        waits = []
        for _ in range(8):
            self.say(Unanswered("no server"))
            waits.append(self.again_after())
        self.assertEqual(waits, [1, 2, 4, 8, 16, 30, 30, 30])
        self.assertEqual((self.watch.targets, self.changes), (targets(1), [targets(1)]))
        self.assertEqual(self.logged(), ["cannot look up app: no server; the last answer is kept"])
        self.say(targets(1))
        self.assertEqual(self.logged(), ["app can be looked up again"])
        self.assertEqual(self.again_after(), 30)
        self.assertEqual(self.changes, [targets(1)])

    def test_the_first_fails(self):
        self.watch.start()
        self.say(Unanswered("no server"))
        self.successResultOf(self.watch.first)
        self.assertEqual(self.logged(), ["cannot look up app: no server; it has no backends"])
        self.assertEqual(self.again_after(), 1)

    def test_a_short_period_is_not_stretched(self):
        watch = Watch("app", self.look_up, 0.25, self.clock, lambda: 0.0)
        watch.start()
        self.say(Unanswered(""))
        self.assertEqual(self.again_after(), 0.25)

    def test_a_look_up_that_does_not_end(self):
        self.watch.start()
        self.clock.advance(29)
        self.assertNoResult(self.watch.first)
        self.clock.advance(1)
        self.successResultOf(self.watch.first)
        self.assertEqual(self.again_after(), 1)
        self.assertEqual(len(self.logged()), 1)

    def test_missing_parts_are_logged_once(self):
        self.watch.start()
        for _ in range(2):
            self.say(Found(targets(1), ("h1", "h2")))
            self.again_after()
        self.say(Found(targets(1)))
        self.assertEqual(self.logged(), ["app: cannot look up h1", "app: cannot look up h2"])

    def test_too_many(self):
        self.watch.start()
        for count in (300, 301, 256, 257):
            self.say(targets(*range(count)))
            self.again_after()
        self.assertEqual(self.watch.targets, targets(*range(256)))
        self.assertEqual(
            self.logged(),
            [
                "app has 300 addresses; the first 256 are used",
                "app has 257 addresses; the first 256 are used",
            ],
        )
        self.assertEqual(len(self.changes), 1)

    def test_a_bug_does_not_end_it(self):
        self.watch.start()
        self.say(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.again_after()

        def broken():
            raise ZeroDivisionError

        self.watch.on_change = broken
        self.say(targets(1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.again_after(), 30)

    def test_stop(self):
        self.watch.start()
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.watch.stop()
        self.watch.start()
        self.say(targets(1))
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.logged(), [])
        self.assertEqual([e for e in self.log if e["log_level"] >= LogLevel.warn], [])
