import os
import pty
import socket
import stat
from collections import deque

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.observe import writer
from txrproxy.observe.writer import Output, Result, Writer


def read(path):
    with open(path, "rb") as file:
        return file.read()


class OutputTests(SynchronousTestCase):
    def output(self, *args):
        output = Output(*args)
        self.addCleanup(output.close)
        return output

    def test_file_is_private_and_appended_to(self):
        path = self.mktemp()
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        self.output(path).write([b"a\n"])
        self.output(path).write([b"b\n", b"c\n"])
        self.assertEqual(read(path), b"a\nb\nc\n")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)

    def test_full_disk(self):
        output = self.output("/dev/full")
        result = output.write([b"a\n", b"b\n"])
        self.assertEqual(result.rest, b"a\nb\n")
        self.assertIn("No space left", str(result.error))

    def test_short_write_goes_on_in_the_middle_of_the_line(self):
        path = self.mktemp()
        output = self.output(path)
        self.short_writes(3)
        result = output.write([b"ab\n", b"cd\n"])
        self.assertEqual((result.rest, output._torn), (b"cd\n", False))
        self.short_writes(1)
        result = output.write([result.rest])
        self.assertEqual((result.rest, output._torn), (b"d\n", True))
        self.assertEqual(output.write([result.rest, b"ef\n"]), Result())
        self.assertEqual(read(path), b"ab\ncd\nef\n")

    def short_writes(self, size):
        real = os.writev

        def writev(fd, chunks):
            self.patch(os, "writev", real)
            return os.write(fd, b"".join(chunks)[:size])

        self.patch(os, "writev", writev)

    def test_reopen(self):
        path = self.mktemp()
        output = self.output(path)
        output.write([b"a\n"])
        os.rename(path, path + ".1")
        output.write([b"b\n"])
        self.assertEqual(output.write([], reopen=True), Result())
        output.write([b"c\n"])
        self.assertEqual((read(path + ".1"), read(path)), (b"a\nb\n", b"c\n"))

    def test_reopen_never_leaves_half_a_line_in_the_new_file(self):
        path = self.mktemp()
        output = self.output(path)
        self.short_writes(1)
        result = output.write([b"ab\ncd\n"])
        os.rename(path, path + ".1")
        self.assertEqual(output.write([result.rest], reopen=True), Result(lost=1))
        self.assertEqual(read(path), b"cd\n")

    def test_failed_reopen_keeps_the_file(self):
        folder = self.mktemp()
        os.mkdir(folder)
        output = self.output(folder + "/log")
        os.rename(folder, folder + ".1")
        result = output.write([b"a\n"], reopen=True)
        self.assertIsInstance(result.reopen_error, FileNotFoundError)
        self.assertEqual(read(folder + ".1/log"), b"a\n")

    def pipe(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        return reader, writer

    def test_pipe_gets_whole_lines_and_keeps_its_flags(self):
        reader, fd = self.pipe()
        output = self.output("-", fd)
        data = b"".join(b"%d %s\n" % (number, b"x" * 1000) for number in range(20))
        sizes = []
        real = os.write
        self.patch(os, "write", lambda fd, data: sizes.append(real(fd, data)) or sizes[-1])
        self.assertEqual(output.write([data], reopen=True), Result())
        self.assertLessEqual(max(sizes), 4096)
        for size in sizes:
            self.assertTrue(os.read(reader, size).endswith(b"x\n"))
        self.assertTrue(os.get_blocking(fd))

    def test_a_line_longer_than_a_piece(self):
        reader, fd = self.pipe()
        line = b"x" * 10000 + b"\n"
        self.assertEqual(self.output("-", fd).write([line]), Result())
        self.assertEqual(os.read(reader, 20000), line)

    def test_a_pipe_nobody_reads(self):
        self.patch(writer, "_JOB_TIME", 0.01)
        reader, fd = self.pipe()
        output = self.output("-", fd)
        data = b"x\n" * 100_000
        result = output.write([data])
        self.assertIsNone(result.error)
        got = os.read(reader, 1 << 20)
        self.assertEqual(got + result.rest, data)

    def test_a_reader_that_is_faster_somewhere_else(self):
        # Polled as writable, and full by the time of the write: another process was first.
        _, fd = self.pipe()
        output = self.output("-", fd)

        def write(fd, data):
            raise BlockingIOError

        self.patch(os, "write", write)
        self.assertEqual(output.write([b"a\n"]), Result(rest=b"a\n"))

    def test_a_reader_that_went_away(self):
        reader, fd = os.pipe()
        output = self.output("-", fd)
        os.close(reader)
        os.close(fd)
        result = output.write([b"a\n"])
        self.assertIsInstance(result.error, BrokenPipeError)
        self.assertEqual(result.rest, b"a\n")

    def test_terminal(self):
        main, terminal = pty.openpty()
        self.addCleanup(os.close, main)
        self.addCleanup(os.close, terminal)
        self.assertEqual(self.output("-", terminal).write([b"a\n"]), Result())
        self.assertEqual(os.read(main, 10), b"a\r\n")

    def test_socket(self):
        left, right = socket.socketpair()
        self.addCleanup(left.close)
        self.addCleanup(right.close)
        self.assertEqual(self.output("-", left.fileno()).write([b"a\n"]), Result())
        self.assertEqual(right.recv(10), b"a\n")

    def test_pipe_that_can_not_be_opened_again(self):
        reader, fd = self.pipe()

        def refuse(*args):
            raise PermissionError

        self.patch(os, "open", refuse)
        self.assertEqual(self.output("-", fd).write([b"a\n"]), Result())
        self.assertEqual(os.read(reader, 10), b"a\n")

    def test_named_pipe_without_a_reader_is_an_error_at_once(self):
        path = self.mktemp()
        os.mkfifo(path)
        self.assertRaises(OSError, Output, path)


class FakeOutput:
    """Answers with what was scripted, else takes everything."""

    name = "the log"

    def __init__(self):
        self.jobs = []
        self.script = deque()
        self.closed = 0

    def write(self, chunks, reopen=False):
        self.jobs.append((list(chunks), reopen))
        return self.script.popleft() if self.script else Result()

    def close(self):
        self.closed += 1


FULL = OSError(28, "No space left on device")


class WriterTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.output = FakeOutput()
        self.threads = deque()
        self.writer = Writer(self.output, self.clock, self.in_thread, backlog=10)
        self.events = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event):
        if event.get("log_namespace") == "txrproxy.observe.writer":
            self.events.append(event["log_format"].format(**event))

    def in_thread(self, work):
        job = Deferred()
        job.addCallback(lambda _: execute(work))
        self.threads.append(job)
        return job

    def run_threads(self):
        while self.threads:
            self.threads.popleft().callback(None)

    def test_one_job_at_a_time(self):
        self.writer.write(b"a\n", 1)
        self.writer.write(b"b\n", 1)
        self.writer.write(b"c\n", 1)
        self.assertEqual(len(self.threads), 1)
        self.run_threads()
        self.assertEqual(self.output.jobs, [([b"a\n"], False), ([b"b\n", b"c\n"], False)])
        self.assertEqual((self.writer._size, self.events), (0, []))

    def test_error_is_said_once_and_taken_back(self):
        self.output.script.extend([Result(b"a\n", FULL), Result(b"a\nb\n", FULL)])
        self.writer.write(b"a\n", 1)
        self.run_threads()
        self.writer.write(b"b\n", 1)
        self.assertEqual(len(self.threads), 0)
        self.clock.advance(1)
        self.run_threads()
        self.assertEqual(
            self.events,
            ["access log: cannot write to the log: [Errno 28] No space left on device"],
        )
        for _ in range(10):
            self.writer.write(b"c\n", 1)  # three fit
        self.clock.advance(1)
        self.run_threads()
        self.assertEqual(
            self.events[1:], ["access log: writing to the log again, 7 lines were lost"]
        )
        self.assertEqual(self.output.jobs[-1][0], [b"a\nb\n", *[b"c\n"] * 3])
        self.assertEqual((self.writer._size, self.clock.getDelayedCalls()), (0, []))

    def test_too_slow(self):
        self.writer.write(b"123456789\n", 1)
        self.writer.write(b"x\n", 3)
        self.writer.write(b"y\n", 2)
        self.run_threads()
        self.assertEqual(
            self.events,
            [
                "access log: cannot write to the log: the backlog is full, lines are being dropped",
                "access log: writing to the log again, 5 lines were lost",
            ],
        )

    def test_no_room_is_no_error(self):
        self.output.script.append(Result(b"b\n"))
        self.writer.write(b"a\nb\n", 2)
        self.run_threads()
        self.clock.advance(0.05)
        self.run_threads()
        self.assertEqual(self.output.jobs[1:], [([b"b\n"], False)])
        self.assertEqual(self.events, [])

    def test_reopen_waits_for_the_running_job(self):
        self.writer.write(b"a\n", 1)
        self.writer.reopen()
        self.run_threads()
        self.assertEqual(self.output.jobs, [([b"a\n"], False), ([], True)])

    def test_reopen_tries_again_at_once(self):
        self.output.script.append(Result(b"a\n", FULL))
        self.writer.write(b"a\n", 1)
        self.run_threads()
        self.writer.reopen()
        self.run_threads()
        self.assertEqual(self.output.jobs[1:], [([b"a\n"], True)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reopen_that_fails_or_loses_half_a_line_is_said(self):
        self.output.script.append(Result(reopen_error=OSError("gone"), lost=1))
        self.writer.reopen()
        self.run_threads()
        self.assertEqual(
            self.events,
            [
                "access log: cannot open the log again, keeping the old file: gone",
                "access log: writing to the log again, 1 lines were lost",
            ],
        )

    def test_a_job_that_breaks(self):
        self.patch(self.output, "write", lambda *args: 1 / 0)
        self.writer.write(b"a\n", 1)
        self.run_threads()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((self.writer._size, self.writer._busy), (0, False))

    def test_many_chunks_go_in_several_jobs(self):
        self.writer = Writer(self.output, self.clock, self.in_thread)
        for _ in range(601):
            self.writer.write(b"a\n", 1)
        self.run_threads()
        self.assertEqual([len(chunks) for chunks, _ in self.output.jobs], [1, 256, 256, 88])

    def test_close_when_idle(self):
        self.successResultOf(self.writer.close())
        self.successResultOf(self.writer.close())
        self.assertEqual(self.output.closed, 1)
        self.writer.write(b"a\n", 1)
        self.writer.reopen()
        self.assertEqual(self.output.jobs, [])

    def test_close_writes_what_waits(self):
        self.writer.write(b"a\n", 1)
        self.writer.write(b"b\n", 1)
        done = self.writer.close()
        self.assertNoResult(done)
        self.run_threads()
        self.successResultOf(done)
        self.assertEqual([chunks for chunks, _ in self.output.jobs], [[b"a\n"], [b"b\n"]])
        self.assertEqual((self.output.closed, self.events), (1, []))

    def test_close_gives_up(self):
        self.output.script.extend([Result(b"a\n", FULL)] * 2)
        self.writer.write(b"a\n", 1)
        self.run_threads()
        done = self.writer.close()
        self.run_threads()
        self.successResultOf(done)
        self.assertEqual(self.events[1:], ["access log: 1 lines for the log were lost at the end"])
        self.assertEqual((self.output.closed, self.clock.getDelayedCalls()), (1, []))
