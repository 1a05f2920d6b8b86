from __future__ import annotations

import json
import os
from pathlib import Path
from unittest import mock

from twisted.logger import Logger, LogLevel
from twisted.python import log as old_log
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.observe import errorlog
from txrproxy.observe.errorlog import ErrorLog


class Awkward(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


def event(level: LogLevel = LogLevel.info, text: str = "hello", **fields: object) -> dict:
    return {
        "log_time": 1_700_000_000.25,
        "log_level": level,
        "log_namespace": "txrproxy.test",
        "log_format": "{text}",
        "text": text,
        **fields,
    }


def failure(error: Exception) -> Failure:
    try:
        raise error
    except Exception:
        return Failure()


class ErrorLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def log(self, level: str = "info", format: str = "text") -> ErrorLog:
        made = ErrorLog(str(self.path), level, format)
        self.addCleanup(lambda: os.close(made._fd))
        return made

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    def test_text(self) -> None:
        self.log()(event())
        self.assertEqual(self.lines(), ["2023-11-14T22:13:20.250Z info txrproxy.test: hello"])

    def test_become(self) -> None:
        log = self.log("info")
        log(event(text="one"))
        other = Path(self.mktemp())
        fds = len(os.listdir("/proc/self/fd"))
        log.become(ErrorLog(str(other), "warn", "json"))
        self.assertEqual(len(os.listdir("/proc/self/fd")), fds)
        log(event(text="two"))
        log(event(LogLevel.warn, text="three"))
        self.assertEqual([line[-3:] for line in self.lines()], ["one"])
        (line,) = other.read_text().splitlines()
        self.assertEqual(json.loads(line)["message"], "three")
        self.assertEqual((log.path, log.level), (str(other), "warn"))

    def test_standard_error_is_not_ours_to_close(self) -> None:
        with mock.patch("os.close") as close:
            ErrorLog("-").close()
            ErrorLog("-").become(ErrorLog("-"))
        close.assert_not_called()
        ErrorLog(str(self.path)).close()

    def test_level_may_change(self) -> None:
        log = self.log("warn")
        for level in ("info", "error", "debug"):
            log.level = level
            self.assertEqual(log.level, level)
            log(event(LogLevel.info, level))
        self.assertEqual([line.rpartition(" ")[2] for line in self.lines()], ["info", "debug"])

    def test_text_traceback(self) -> None:
        """Lines beyond the first are indented, so that each event begins at the margin."""
        self.log()(event(LogLevel.critical, "it broke", log_failure=failure(KeyError("x"))))
        lines = self.lines()
        self.assertEqual(lines[0], "2023-11-14T22:13:20.250Z critical txrproxy.test: it broke")
        self.assertEqual({line[:4] for line in lines[1:]}, {"    "})
        self.assertIn("KeyError: 'x'", lines[-1])

    def test_forged_lines(self) -> None:
        """What came from outside can not look like an event, nor steer a terminal."""
        self.log()(event(text="a\n2023-11-14T22:13:20.250Z critical fake: b\x1b[2J\r\u2028c"))
        self.assertEqual(
            self.lines(),
            [
                "2023-11-14T22:13:20.250Z info txrproxy.test: a",
                "    2023-11-14T22:13:20.250Z critical fake: b\\x1b[2J",
                "    ",
                "    c",
            ],
        )

    def test_json(self) -> None:
        self.log(format="json")(event(text='a "b"\nc'))
        (line,) = self.lines()
        self.assertEqual(
            json.loads(line),
            {
                "time": "2023-11-14T22:13:20.250Z",
                "level": "info",
                "namespace": "txrproxy.test",
                "message": 'a "b"\nc',
            },
        )

    def test_json_traceback(self) -> None:
        self.log(format="json")(event(log_failure=failure(KeyError("x"))))
        (line,) = self.lines()
        self.assertIn("KeyError: 'x'", json.loads(line)["traceback"])

    def test_traceback_that_fails(self) -> None:
        self.log(format="json")(event(log_failure=failure(Awkward())))
        (line,) = self.lines()
        self.assertIn("traceback", json.loads(line))

    def test_surrogates(self) -> None:
        self.log()(event(text="\udcff"))
        self.assertTrue(self.lines()[0].endswith("\\udcff"))

    def test_level(self) -> None:
        log = self.log("warn")
        for level in (LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.critical):
            log(event(level, level.name))
        self.assertEqual([line.split()[-1] for line in self.lines()], ["warn", "critical"])

    def test_loggers(self) -> None:
        """The new and the old way of Twisted to say something both arrive."""
        log = self.log()
        Logger(namespace="n", observer=log).info("new {what}", what="way")
        publisher = old_log.LogPublisher(publishPublisher=log)  # type: ignore[arg-type]
        publisher.msg("old way")
        self.assertEqual(
            [line.split(" ", 1)[1] for line in self.lines()],
            [
                "info n: new way",
                "info log_legacy: old way",
            ],
        )

    def test_appends(self) -> None:
        self.path.write_text("before\n")
        self.log()(event())
        self.assertEqual(self.lines()[0], "before")
        self.assertEqual(len(self.lines()), 2)

    def test_reopen(self) -> None:
        log = self.log()
        log(event(text="first"))
        moved = self.path.rename(self.path.with_suffix(".1"))
        log(event(text="second"))
        log.reopen()
        log(event(text="third"))
        self.assertEqual([line.split()[-1] for line in self.lines()], ["third"])
        self.assertEqual(len(moved.read_text().splitlines()), 2)

    def test_reopen_fails(self) -> None:
        """The old file stays in use."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "log"
        log = self.log()
        moved = folder.rename(folder.with_suffix(".1"))
        self.assertRaises(FileNotFoundError, log.reopen)
        log(event())
        self.assertEqual(len((moved / "log").read_text().splitlines()), 1)

    def test_given_away(self) -> None:
        """A file that root makes, to the user that it becomes; never one that was there."""
        given = []
        self.patch(errorlog.os, "fchown", lambda fd, *owner: given.append(owner))
        path = Path(self.mktemp()).absolute()
        log = ErrorLog(str(path), owner=(7, -1))
        self.assertEqual(given, [(7, -1)])
        log(event())
        log.reopen()
        link = Path(self.mktemp())
        link.symlink_to(path)
        for there in (path, link):
            ErrorLog(str(there), owner=(7, -1))(event())
        self.assertEqual(given, [(7, -1)])
        self.assertEqual(len(path.read_text().splitlines()), 3)

    def test_stderr(self) -> None:
        log = ErrorLog("-")
        self.assertTrue(log.on_stderr)
        self.assertFalse(self.log().on_stderr)
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.patch(log, "_fd", write)
        log.reopen()
        log(event())
        os.close(write)
        self.assertTrue(os.read(read, 1000).endswith(b": hello\n"))

    def test_full_disk(self) -> None:
        """Nobody is told, as there is nowhere to tell it, and nothing breaks."""
        log = ErrorLog("/dev/full")
        self.addCleanup(os.close, log._fd)
        log(event())

    def test_cannot_open(self) -> None:
        self.assertRaises(OSError, ErrorLog, str(self.path / "no" / "such"))

    def test_formats_are_those_of_the_schema(self) -> None:
        self.assertEqual(set(errorlog._FORMATS), {"text", "json"})
