"""What one process knows of backends and clients, all of them know."""

import os
import signal
import threading

from tests.scenarios.sharing import Lane, SharingScenario
from tests.twistd import end, wait_until
from txrproxy.transport.channel import Refused

CHECKED = '[pools.app.health]\npath = "/up"\ninterval = "100ms"\nfall = 1\nrise = 1\n'
EJECTING = '[pools.app.outlier]\nconsecutive_errors = 3\neject = "1h"\n'


class HealthTests(SharingScenario):
    def test_one_process_asks(self):
        """Workers do not multiply checks."""
        self.write(CHECKED)
        self.start()
        wait_until(lambda: len(self.a.asked) > 10 and len(self.b.asked) > 10)
        self.assertEqual({*self.a.asked[:10], *self.b.asked[:10]}, {self.proxy.process.pid})

    def test_all_notice(self):
        self.write(CHECKED)
        self.start()
        self.connect()
        self.until_all({b"a", b"b"})
        self.a.mood = "ill"
        self.until_all({b"b"})
        self.assertIs(self.known(self.a)["healthy"], False)
        self.a.mood = "well"
        self.until_all({b"a", b"b"})
        check = self.known(self.a)["check"]
        self.assertEqual((check["passed"], check["text"]), (True, "status 200"))

    def test_nobody_is_served_before_the_first_checks(self):
        """Who comes early waits, and is not turned away."""
        self.a.mood = self.b.mood = "mute"
        self.write(CHECKED)
        self.start()
        lanes = [Lane(self.port) for _ in range(8)]
        for lane in lanes:
            self.addCleanup(lane.close)
            lane.send()
        wait_until(lambda: self.a.asked and self.b.asked)
        self.a.mood = self.b.mood = "well"
        self.a.go_on.set()
        self.b.go_on.set()
        self.assertLessEqual({lane.receive() for lane in lanes}, {b"a", b"b"})

    def test_a_worker_that_comes_back_knows(self):
        self.a.mood = "ill"
        self.write(CHECKED.replace('"100ms"', '"1h"'))
        self.start()
        self.connect()
        self.until_all({b"b"})
        asked = len(self.a.asked)
        os.kill(self.lanes[0].pid, signal.SIGKILL)
        self.proxy.wait_for("serves")
        served = self.a.served
        for lane in self.connect():
            self.assertEqual(lane.names(), {b"b"})
        self.assertEqual((self.a.served, len(self.a.asked)), (served, asked))

    def test_checks_follow_a_reload(self):
        self.write()
        self.start()
        self.connect()
        self.until_all({b"a", b"b"})
        self.a.mood = "ill"
        self.write(CHECKED)
        self.reload()
        self.until_all({b"b"})
        self.assertEqual({*self.a.asked}, {self.proxy.process.pid})
        self.write()
        self.reload()
        self.until_all({b"a", b"b"})


class EjectionTests(SharingScenario):
    def eject(self):
        """Let one worker find ``a`` bad, and the others hear of it."""
        self.write(EJECTING)
        self.start()
        one, *_ = self.connect()
        self.a.mood = "broken"
        while not self.known(self.a)["ejected"]:
            self.assertIn(one.ask("POST"), {b"b", b"502"})
        self.set(self.a)

    def test_all_leave_it_out(self):
        self.eject()
        self.assertGreater(self.known(self.a)["ejected_for"], 3000)
        served = self.a.served
        for lane in self.lanes:
            self.assertEqual(lane.names(), {b"b"})
        self.assertEqual(self.a.served, served)
        out = [line for line in self.proxy.lines if "is left out" in line]
        self.assertLessEqual(len(out), 1)

    def test_a_worker_that_comes_back_knows(self):
        self.eject()
        served = self.a.served
        os.kill(self.lanes[1].pid, signal.SIGKILL)
        self.proxy.wait_for("serves")
        for lane in self.connect():
            self.assertEqual(lane.names(), {b"b"})
        self.assertEqual(self.a.served, served)

    def test_all_take_it_back(self):
        """One request is the trial, whichever worker it comes to."""
        self.write(EJECTING.replace('"1h"', '"50ms"'))
        self.start()
        one, other = self.connect()
        self.a.mood = "broken"
        wait_until(lambda: one.ask("POST") and self.known(self.a)["ejected"])
        self.a.mood = "well"
        wait_until(lambda: other.ask() and not self.known(self.a)["ejected"])
        self.until_all({b"a", b"b"})


class WantedTests(SharingScenario):
    def test_drained_everywhere(self):
        """Over the death of a worker, a reload, an upgrade; until it is said again."""
        self.write()
        self.start()
        self.connect()
        self.assertEqual(self.set(self.a, state="drain"), {"state": "drain"})
        self.only_b()
        os.kill(self.lanes[0].pid, signal.SIGKILL)
        self.proxy.wait_for("serves")
        self.connect()
        self.only_b()
        self.write('balance = "random"', workers=3)
        self.reload()
        self.connect()
        self.only_b()
        pid = self.ask("upgrade")["pid"]
        self.addCleanup(end, pid)
        for lane in self.lanes:
            lane.close()
        self.proxy.process.wait(30)
        self.connect()
        self.only_b()
        self.set(self.a, state="up", weight=0)
        self.only_b()
        self.set(self.a, weight=1)
        for lane in self.lanes:
            wait_until(lambda lane=lane: lane.ask() == b"a")

    def only_b(self):
        for lane in self.lanes:
            self.assertEqual(lane.names(), {b"b"})

    def test_weights(self):
        self.write()
        self.start()
        self.connect()
        self.assertEqual(self.set(self.b, weight=3), {"state": "up", "weight": 3})
        for lane in self.lanes:
            names = [lane.ask() for _ in range(8)]
            self.assertEqual((names.count(b"a"), names.count(b"b")), (2, 6))

    def test_refused(self):
        self.write()
        self.start()
        for wanted, why in (
            ({"state": "sideways"}, "not up, drain or down"),
            ({"weight": "many"}, "not a number"),
        ):
            self.assertIn(why, str(self.assertRaises(Refused, self.set, self.a, **wanted)))
        error = self.assertRaises(Refused, self.ask, "backend")
        self.assertEqual(str(error), "no pool named None; there are: app")
        error = self.assertRaises(Refused, self.ask, "backend", pool="app", backend="gone")
        there = ", ".join(f"127.0.0.1:{each.port}" for each in (self.a, self.b))
        self.assertEqual(str(error), f"pool app has no backend gone; there are: {there}")

    def test_in_one_process(self):
        self.workers = 0
        self.write(CHECKED)
        self.start()
        (lane,) = self.connect()
        self.until_all({b"a", b"b"})
        self.set(self.a, state="down")
        self.assertEqual(lane.names(), {b"b"})
        self.set(self.a, state="up")
        self.a.mood = "ill"
        self.until_all({b"b"})


class LimitTests(SharingScenario):
    def test_rates(self):
        """All workers together let as many pass as one would."""
        self.write(policy='rate_limit = { key = "client_ip", rate = "1/m", burst = 999 }')
        self.start()
        self.connect()
        counts = []

        def ask(lane):
            counts.append(sum(lane.ask() != b"429" for _ in range(1000)))

        threads = [threading.Thread(target=ask, args=(lane,)) for lane in self.lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual(len(counts), 2)
        # Within 1 %; the backends have counted what connect() has asked, too.
        self.assertIn(self.a.served + self.b.served, range(990, 1011))
        self.assertGreater(min(counts), 0)

    def hold(self, lane):
        """Let a request be under way, and no other."""
        wait_until(lambda: lane.ask() != b"429")
        self.a.mood = self.b.mood = "mute"
        served = self.a.served + self.b.served
        lane.send()
        wait_until(lambda: self.a.served + self.b.served > served)

    def test_requests_at_a_time(self):
        """What a worker held that was killed is given back."""
        self.write(policy='connection_limit = { key = "client_ip", limit = 1 }')
        self.start()
        one, other = self.connect()
        self.hold(one)
        self.assertEqual(other.ask(), b"429")
        os.kill(one.pid, signal.SIGKILL)
        self.a.mood = self.b.mood = "well"
        self.proxy.wait_for("serves")
        self.assertIn(other.ask(), {b"a", b"b"})

    def test_many_at_a_time(self):
        """No more than one process would let pass, and no fewer."""
        self.write(policy='connection_limit = { key = "client_ip", limit = 10 }')
        self.start()
        workers = self.pids()
        lanes = self.connect() + [Lane(self.port) for _ in range(22)]
        for lane in lanes[2:]:
            self.addCleanup(lane.close)
            lane.find(workers)
        self.a.mood = self.b.mood = "mute"
        served = self.a.served + self.b.served
        for lane in lanes:
            lane.send()
        wait_until(lambda: sum(lane.has_answer() for lane in lanes) == len(lanes) - 10)
        wait_until(lambda: self.a.served + self.b.served == served + 10)
        self.a.go_on.set()
        self.b.go_on.set()
        answers = [lane.receive() for lane in lanes]
        self.assertEqual(answers.count(b"429"), len(lanes) - 10)
        self.assertEqual(self.a.served + self.b.served, served + 10)

    def test_a_worker_that_leaves_counts_on(self):
        """Until what it has is done; who takes its place has a place of its own to count."""
        self.write(policy='connection_limit = { key = "client_ip", limit = 1 }')
        self.start()
        one, other = self.connect()
        self.hold(one)
        self.assertEqual(other.ask(), b"429")
        os.kill(one.pid, signal.SIGTERM)
        self.proxy.wait_for("serves")
        self.lanes = [other]
        for lane in self.connect():
            self.assertEqual(lane.ask(), b"429")
        self.a.go_on.set()
        self.b.go_on.set()
        self.assertIn(one.receive(), {b"a", b"b"})
        for lane in self.lanes:
            wait_until(lambda lane=lane: lane.ask() != b"429")
