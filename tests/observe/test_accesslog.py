import json
import os

from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.observe.test_formats import record
from txrproxy.observe.accesslog import BATCH, INTERVAL, AccessLog, NullLog, open_log


class FakeWriter:
    def __init__(self):
        self.written = []

    def write(self, data, lines):
        self.written.append((data, lines))

    def reopen(self):
        self.written.append("reopen")

    def close(self):
        self.written.append("close")


class AccessLogTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.writer = FakeWriter()
        self.log = AccessLog(lambda records: b"%d" % len(records), self.writer, self.clock)

    def test_nothing_runs_while_nothing_happens(self):
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.log.append(record())
        self.clock.advance(INTERVAL)
        self.assertEqual(self.writer.written, [(b"1", 1)])
        self.clock.advance(INTERVAL)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waits_for_the_interval(self):
        self.log.append(record())
        self.clock.advance(INTERVAL / 2)
        self.log.append(record())
        self.assertEqual(self.writer.written, [])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(INTERVAL / 2)
        self.assertEqual(self.writer.written, [(b"2", 2)])

    def test_a_full_batch_goes_at_once_in_pieces(self):
        for _ in range(BATCH):
            self.log.append(record())
        self.assertEqual(self.writer.written, [(b"128", 128)] * 4)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_reopen_flushes_first(self):
        self.log.append(record())
        self.log.reopen()
        self.assertEqual(self.writer.written, [(b"1", 1), "reopen"])

    def test_close_flushes_and_stops_the_timer(self):
        self.log.append(record())
        self.log.close()
        self.assertEqual(self.writer.written, [(b"1", 1), "close"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.log.close()

    def test_records_after_close_do_not_pile_up(self):
        self.log.close()
        self.log.append(record())
        self.clock.pump([INTERVAL] * 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.log._records, [])


class NullLogTests(SynchronousTestCase):
    def test_same_interface(self):
        log = open_log("-", "off", (), Clock())
        self.assertIsInstance(log, NullLog)
        self.assertFalse(log.enabled)
        log.append(record())
        log.flush()
        log.reopen()
        self.successResultOf(log.close())
        for name in vars(AccessLog):
            if not name.startswith("_"):
                self.assertTrue(hasattr(log, name), name)


class CountingTests(SynchronousTestCase):
    def test_batches_are_counted_without_a_log(self):
        counted = []
        clock = Clock()
        log = open_log("-", "off", (), clock, lambda records: counted.append(len(records)))
        self.assertTrue(log.enabled)
        for _ in range(BATCH + 3):
            log.append(())
        clock.advance(INTERVAL)
        self.assertEqual(counted, [BATCH, 3])
        log.append(())
        log.reopen()
        self.successResultOf(log.close())
        self.assertEqual(sum(counted), BATCH + 4)

    def test_and_with_one(self):
        counted = []
        writer = FakeWriter()
        log = AccessLog(lambda records: b"x" * len(records), writer, Clock(), counted.append)
        log.append("a")
        log.flush()
        self.assertEqual(counted, [["a"]])


class OpenLogTests(TestCase):
    async def test_file_in_a_thread(self):
        path = self.mktemp()
        log = open_log(path, "json", ["k"], reactor)
        self.assertTrue(log.enabled)
        for number in range(2000):
            log.append(record(target=b"/%d?k=1" % number))
        await log.close()
        with open(path, "rb") as file:
            targets = [json.loads(line)["target"] for line in file]
        self.assertEqual(targets, [f"/{number}?k=***" for number in range(2000)])

    async def test_rotation_loses_and_tears_nothing(self):
        path = self.mktemp()
        log = open_log(path, "combined", (), reactor)
        for turn in range(5):
            for number in range(1000):
                log.append(record(target=b"/%d" % (turn * 1000 + number)))
            if turn:
                os.rename(path, f"{path}.{turn}")
                log.reopen()
            while not os.path.exists(path):  # the next rename needs the file
                await deferLater(reactor, 0)
        await log.close()
        seen = []
        for name in [f"{path}.{turn}" for turn in range(1, 5)] + [path]:
            with open(name) as file:
                for line in file:
                    self.assertTrue(line.endswith('"curl/8"\n'))
                    seen.append(int(line.split()[6][1:]))
        self.assertEqual(seen, list(range(5000)))

    def test_unopenable(self):
        self.assertRaises(OSError, open_log, "/nonexistent/log", "json", (), reactor)
