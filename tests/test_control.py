"""What the command does with a proxy that runs; and with one that does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.service.processes import ProcessCase
from tests.twistd import ask, connect, get, read_all, wait_until
from txrproxy.cli import main
from txrproxy.control import NotRunning, state_dir, wait_for_end, workers


def command(*words: str) -> tuple[int, str, str]:
    with mock.patch("sys.stdout", StringIO()) as out, mock.patch("sys.stderr", StringIO()) as err:
        status = main(words)
    return status, out.getvalue(), err.getvalue()


class RunningTests(ProcessCase):
    def test_commands(self) -> None:
        self.start()
        where = ("--config", str(self.config))
        status, out, _ = command("status", *where)
        self.assertEqual(status, 0)
        self.assertRegex(out, r"main process +\d+, up 0:00:")
        self.assertEqual(len(out.partition("worker ")[2].splitlines()), 3)
        status, out, _ = command("status", "--state-dir", str(self.folder / "state"), "--json")
        self.assertEqual(len(json.loads(out)["workers"]), 2)
        self.assertGreater(json.loads(out)["workers"][0]["rss"], 2**20)

        status, out, _ = command("reload", *where)
        self.assertEqual((status, out[:11]), (0, "reloaded in"))
        self.write('[pools.spare]\nbackends = ["http://127.0.0.1:9"]\n')
        status, out, err = command("reload", *where)
        self.assertEqual((status, out[:11]), (0, "reloaded in"))
        self.assertRegex(err, r"^warning: .*edge.toml:\d+: pools.spare: ")
        status, out, _ = command("reload", *where, "--json")
        self.assertEqual(len(json.loads(out)["warnings"]), 1)
        self.write(pool="apx")
        status, out, err = command("reload", *where)
        self.assertEqual((status, out), (1, ""))
        self.assertIn("edge.toml", err)
        self.assertIn('did you mean "app"?', err)
        status, out, err = command("reload", *where, "--json")
        self.assertEqual((status, json.loads(out)["ok"]), (1, False))
        self.assertRegex(
            command("status", *where)[1], r"reloads +3, then one refused at 2.*edge.toml"
        )

        self.write()
        good = self.config.read_text()
        test = '[[tests]]\nrequest = { url = "http://a/no-such-path" }\nexpect = '
        self.config.write_text(f"{good}\n{test}{{ status = 418 }}\n")
        status, _, err = command("reload", *where)
        self.assertEqual(status, 1)
        self.assertIn("tests[0].expect.status: GET http://a/no-such-path: ", err)
        self.config.write_text(f"{good}\n{test}{{ cacheable = false }}\n")
        self.assertEqual(command("reload", *where)[0], 0)

        _, out, _ = command("pools", "ls", *where, "--json")
        (pool,) = json.loads(out)["pools"]
        (backend,) = pool["backends"]
        self.assertEqual((backend["ejected"], backend["waiting"]), (False, 0))
        change = ("app", backend["id"], *where)
        self.assertEqual(command("pools", "drain", *change)[0], 0)
        self.assertIn("  drain  ", command("pools", "ls", *where)[1])
        _, out, _ = command("explain", "GET", "http://a/no-such", "-c", str(self.config))
        self.assertIn(f"{backend['id']}  drain, weight 1, no candidate", out)
        self.assertEqual(command("pools", "up", *change)[0], 0)
        status, _, err = command("pools", "up", "app", "gone", *where)
        self.assertEqual(status, 1)
        self.assertIn("gone", err)

        self.assertEqual(command("stop", *where), (0, "stopped\n", ""))
        self.assertEqual(self.proxy.process.wait(30), 0)
        self.assertEqual(command("stop", *where)[0], 3)


class DrainingTests(ProcessCase):
    """Who leaves can be seen until the end."""

    def status(self) -> dict[str, Any]:
        _, out, _ = command("status", "-c", str(self.config), "--json")
        return dict(json.loads(out))

    def test_workers_that_leave(self) -> None:
        self.start()
        load = self.load()

        def all_have_some() -> bool:
            load.tunnel(self.port)
            return all(row["connections"] for row in self.status()["workers"])

        wait_until(all_have_some)
        pids = self.pids()
        self.write(workers=1)
        self.reload()
        status = self.status()
        self.assertEqual([row["pid"] for row in status["workers"]], pids[:1])
        (row,) = status["leaving"]
        self.assertEqual((row["pid"], row["worker"]), (pids[1], 2))
        self.assertGreater(row["connections"], 0)
        _, out, _ = command("status", "-c", str(self.config))
        self.assertRegex(out, rf"\n1 +{pids[0]} .* serves *\n2 +{pids[1]} .* drains *\n")
        load.end()
        wait_until(lambda: not self.status()["leaving"])

    def test_a_proxy_that_ends(self) -> None:
        """It answers, and changes no more; the place is free for the next one."""
        where = ("-c", str(self.config))
        self.start()
        self.assertEqual(self.status()["state"], "serving")
        load = self.load()
        load.tunnel(self.port)
        wait_until(lambda: any(row["connections"] for row in self.status()["workers"]))
        for _ in range(2):  # the second one does not hurry it
            status, _, err = command("stop", *where, "--timeout", "0.2")
            self.assertEqual(status, 1)
            self.assertIn("still drains", err)
        status, out, _ = command("status", *where)
        self.assertEqual(status, 0)
        self.assertRegex(out, r"main process +\d+, up 0:00:\d\d, draining\n")
        self.assertRegex(out, r"\n\d .* 1 .* drains *\n")
        for verb in ("reload", "upgrade"):
            self.assertEqual(
                command(verb, *where), (1, "", "the proxy is draining, and changes no more\n")
            )
        first = self.proxy
        self.start()
        self.assertEqual(self.status()["pid"], self.proxy.process.pid)
        load.end()
        self.assertEqual(first.process.wait(30), 0)
        self.assertEqual(self.status()["pid"], self.proxy.process.pid)
        self.assertTrue((self.folder / "state/txrproxy.pid").exists())
        self.assertEqual(command("stop", *where)[0], 0)
        self.assertEqual(
            [path.name for path in (self.folder / "state").iterdir() if path.suffix != ".pem"],
            ["self-signed.key"],
        )


class DelayTests(ProcessCase):
    """``server.drain_delay``: everybody is served until load balancers have noticed."""

    def setUp(self) -> None:
        super().setUp()
        self.write_delay("60s")

    def write_delay(self, delay: str) -> None:
        # Within the table that the sample has.
        self.write('[admin]\nlisten = "127.0.0.1:0"\n', drain=f'20s"\ndrain_delay = "{delay}')

    def told_to_end(self) -> None:
        admin = int(self.proxy.wait_for(r"admin server on .*:(\d+)")[1])
        self.assertIn(b"200 OK", get(admin, "/readyz"))
        self.proxy.signal(signal.SIGTERM)
        self.proxy.wait_for("then draining")
        self.assertIn(b"503 Service Unavailable", get(admin, "/readyz"))
        self.assertIn(b"draining", get(admin, "/readyz"))

    def test_served_meanwhile(self) -> None:
        self.start()
        lanes = [connect(self.port) for _ in range(4)]
        for lane in lanes:
            self.addCleanup(lane.close)
            ask(lane, "/")
            answer = b""
            while not answer.endswith(b"hello"):
                answer += lane.recv(65536)
            self.assertNotIn(b"connection: close", answer.lower())
        self.told_to_end()
        lanes.append(connect(self.port))
        self.addCleanup(lanes[-1].close)
        for lane in lanes:  # those that were kept, and a new one
            ask(lane, "/")
            answer = read_all(lane)
            self.assertIn(b"200 OK", answer)
            self.assertIn(b"connection: close\r\n", answer.lower())
        _, out, _ = command("status", "-c", str(self.config))
        self.assertIn(", draining\n", out)
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)  # and replaced
        for _ in range(2):
            self.proxy.wait_for("serves")
        with connect(self.port) as lane:
            ask(lane, "/")
            self.assertIn(b"connection: close\r\n", read_all(lane).lower())
        self.proxy.signal(signal.SIGTERM)
        self.proxy.wait_for("ending at once")
        self.assertEqual(self.proxy.process.wait(30), -signal.SIGTERM)

    def test_it_ends(self) -> None:
        self.write_delay("0.5s")
        self.start()
        self.proxy.signal(signal.SIGTERM)
        self.proxy.wait_for("then draining")
        self.assertEqual(self.proxy.process.wait(30), -signal.SIGTERM)

    def test_an_upgrade_waits_for_nobody(self) -> None:
        self.start()
        new = self.ask("upgrade")["pid"]
        self.addCleanup(os.kill, new, signal.SIGKILL)
        self.assertEqual(self.proxy.process.wait(30), 0)
        self.assertIn(b"200 OK", get(self.port))


class ReportTests(SynchronousTestCase):
    def test_a_worker_that_keeps_dying(self) -> None:
        row = {"worker": 1, "pid": 12, "uptime": 3700.5, "connections": 7, "rss": 3 * 2**20}
        status = {
            "state": "serving",
            "workers": [row, {"worker": 2, "pid": 13, "error": "it is busy"}],
            "leaving": [],
            "missing": [{"worker": 3, "seconds": 25.6}],
        }
        self.assertEqual(
            list(workers(status))[1:],
            [
                ("1", "12", "1:01:40", "7", "3 MiB", "serves"),
                ("2", "13", "", "", "", "it is busy"),
                ("3", "", "", "", "", "died; a new one in 26 s"),
            ],
        )


class NotRunningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.file = self.folder / "edge.toml"

    def test_nobody(self) -> None:
        status, out, err = command("status", "--state-dir", str(self.folder))
        self.assertEqual((status, out), (3, ""))
        self.assertIn("no proxy answers", err)

    def test_state_dir(self) -> None:
        """Of a file that has other faults, too."""
        for text, folder in (("", "state"), ("[server]\nstate_dir = '/x'\nzzz = 1", "/x")):
            self.file.write_text(text)
            self.assertEqual(state_dir(str(self.file)), str(self.folder / folder))

    def test_state_dir_of_an_included_file(self) -> None:
        (self.folder / "server.toml").write_text("[server]\nstate_dir = 'run'\n")
        self.file.write_text("include = ['*.toml', 'gone']\n")
        self.assertEqual(state_dir(str(self.file)), str(self.folder / "run"))
        for more, folder in (("server.state_dir = 'own'", "own"), ("server = 5", "state")):
            self.file.write_text(f"include = ['*.toml', 'gone']\n{more}\n")
            self.assertEqual(state_dir(str(self.file)), str(self.folder / folder))

    def test_no_toml(self) -> None:
        self.file.write_text("[")
        self.assertRaises(NotRunning, state_dir, str(self.file))
        self.assertRaises(NotRunning, state_dir, str(self.folder / "gone"))

    def test_wait_for_end(self) -> None:
        self.assertFalse(wait_for_end(os.getpid(), 0))
        child = subprocess.Popen(["true"])
        self.assertTrue(wait_for_end(child.pid, 30))
        child.wait()
        self.assertTrue(wait_for_end(child.pid, 0))
