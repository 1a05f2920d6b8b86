from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import Application, IServiceCollection
from twisted.logger import ILogObserver, LogLevel
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from tests.twistd import run
from txrproxy import cli
from txrproxy.service import tap
from txrproxy.service.edge import Edge

GOOD = """\
version = 1
[listeners.http]
bind = ["127.0.0.1:0"]
[[routes]]
name = "hello"
respond = { status = 200, body = "hello" }
"""
EVENT = {"log_time": 0.0, "log_level": LogLevel.info, "log_namespace": "txrproxy"}
BAD = GOOD.replace("bind", "bnid").replace("status = 200", 'status = "ok"')


class TapCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.config = self.folder / "edge.toml"
        self.config.write_text(GOOD)
        self.stderr = io.StringIO()
        self.patch(sys, "stderr", self.stderr)

    def options(self, **twistd: Any) -> tap.Options:
        """The options as twistd makes them; ``twistd`` are its own."""
        options = tap.Options()
        if twistd:
            options.parent = twistd  # type: ignore[assignment]
        options.parseOptions(["--config", str(self.config)])
        return options


class OptionsTests(TapCase):
    def test_config_is_required(self) -> None:
        error = self.assertRaises(UsageError, tap.Options().parseOptions, [])
        self.assertEqual(str(error), "--config FILE is required")

    def test_loads(self) -> None:
        self.assertEqual(list(self.options().loaded.listeners), ["http"])
        self.assertEqual(self.stderr.getvalue(), "")

    def test_user(self) -> None:
        """Whom root becomes; nobody else becomes anybody."""
        for euid, twistd, user in (
            (0, {"uid": 7, "gid": 8}, (7, 8)),
            (0, {"uid": 7, "gid": None}, (7, -1)),
            (0, {"uid": None, "gid": None}, None),
            (1, {"uid": 7, "gid": 8}, None),
        ):
            self.patch(tap.os, "geteuid", lambda euid=euid: euid)
            self.assertEqual(self.options(**twistd).user, user)
        self.assertIsNone(self.options().user)

    def test_bad_config(self) -> None:
        """What ``txrproxy check`` says, without its count."""
        self.config.write_text(BAD)
        self.assertEqual(self.assertRaises(SystemExit, self.options).code, 1)
        said = self.stderr.getvalue()
        self.stderr.truncate(0)
        self.stderr.seek(0)
        self.assertEqual(cli.main(["check", str(self.config)]), 1)
        checked = self.stderr.getvalue()
        self.assertEqual(said.strip(), checked.rpartition("\n\n")[0].strip())
        self.assertIn("edge.toml:3", said)

    def test_daemon_has_no_stdout(self) -> None:
        self.options(nodaemon=False)
        self.assertIn("warning: log.access.path: a daemon has no", self.stderr.getvalue())

    def test_daemon_with_files(self) -> None:
        self.config.write_text(GOOD + '[log.access]\npath = "access.log"\n')
        self.options(nodaemon=False)
        self.assertEqual(self.stderr.getvalue(), "")


class ErrorLogChoiceTests(TapCase):
    def test_foreground(self) -> None:
        self.assertTrue(self.options(nodaemon=True).own_error_log)

    def test_debugger(self) -> None:
        """``twistd --debug`` stays in the foreground."""
        self.assertTrue(self.options(nodaemon=False, debug=True).own_error_log)

    def test_path(self) -> None:
        self.assertEqual(self.options(nodaemon=True).error_path, "-")
        self.assertEqual(self.options(nodaemon=False).error_path, os.path.abspath("twistd.log"))
        elsewhere = self.options(nodaemon=False, rundir="/run/edge")
        self.assertEqual(elsewhere.error_path, "/run/edge/twistd.log")
        self.config.write_text(GOOD + '[log.error]\npath = "error.log"\n')
        for nodaemon in (False, True):
            options = self.options(nodaemon=nodaemon)
            self.assertTrue(options.own_error_log)
            self.assertEqual(options.error_path, str(self.folder / "error.log"))

    def test_twistd_has_the_last_word(self) -> None:
        self.config.write_text(GOOD + '[log.error]\npath = "error.log"\n')
        for option in ("logfile", "logger", "syslog"):
            self.assertFalse(self.options(nodaemon=True, **{option: "x"}).own_error_log)


class ServiceTests(TapCase):
    def test_application(self) -> None:
        """The service brings its error log along, where AppLogger looks for it."""
        self.config.write_text(GOOD + '[log.error]\npath = "error.log"\n')
        application = Application("txrproxy")
        tap.makeService(self.options()).setServiceParent(application)
        self.assertEqual(
            application.getComponent(ILogObserver).path, str(self.folder / "error.log")
        )
        (service,) = IServiceCollection(application)
        self.assertEqual([type(part) for part in service], [Edge])

    def test_application_of_a_daemon(self) -> None:
        """It logs as the table says, where twistd would in its own way."""
        self.config.write_text(GOOD + '[log.error]\nformat = "json"\n')
        application = Application("txrproxy")
        options = self.options(nodaemon=False, rundir=str(self.folder))
        tap.makeService(options).setServiceParent(application)
        log = application.getComponent(ILogObserver)
        log({**EVENT, "log_format": "hello"})
        self.assertEqual(json.loads((self.folder / "twistd.log").read_text())["message"], "hello")

    def test_application_that_twistd_logs_for(self) -> None:
        application = Application("txrproxy")
        tap.makeService(self.options(logfile="x")).setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver), None)

    def test_bad_error_log(self) -> None:
        options = self.options(nodaemon=False, rundir=str(self.folder / "no"))
        self.stderr.truncate(0)
        self.assertEqual(self.assertRaises(SystemExit, tap.makeService, options).code, 1)
        self.assertIn(
            f"cannot write the error log {self.folder}/no/twistd.log: No such file or directory\n",
            self.stderr.getvalue(),
        )


class CommandTests(TapCase):
    def test_bad_config(self) -> None:
        self.config.write_text(BAD)
        done = run("-n", "--pidfile=", "txrproxy", "-c", "edge.toml", cwd=self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("edge.toml:3", done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertEqual(done.stdout, "")

    def test_bad_config_of_a_daemon(self) -> None:
        """It does not become one."""
        self.config.write_text(BAD)
        done = run("txrproxy", "-c", "edge.toml", cwd=self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("edge.toml:3", done.stderr)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["edge.toml"])

    def test_no_config(self) -> None:
        done = run("-n", "--pidfile=", "txrproxy", cwd=self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("--config FILE is required", done.stdout + done.stderr)
