"""What is written of matches, and what never is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.observe.formats import redactor
from txrproxy.waf.audit import MASK, AuditFile, Masking, line


class MaskingTests(SynchronousTestCase):
    def test_credentials_are_never_written(self) -> None:
        masking = Masking([])
        for name in ("Authorization", "cookie", "Proxy-Authorization"):
            self.assertEqual(masking.value(f"REQUEST_HEADERS:{name}", "x"), MASK)
        self.assertEqual(masking.value("RESPONSE_HEADERS:Set-Cookie", "x"), MASK)
        self.assertEqual(masking.value("REQUEST_HEADERS:X-A", "x"), "x")
        self.assertEqual(masking.value("ARGS:cookie", "x"), "x")
        self.assertEqual(masking.value("REQUEST_COOKIES:session", "x"), MASK)
        self.assertEqual(masking.value("REQUEST_COOKIES", "x"), MASK)
        self.assertEqual(masking.value("REQUEST_COOKIES_NAMES:session", "session"), "session")

    def test_what_a_chain_hands_on(self) -> None:
        masking = Masking(["password"])
        for variable, value, told in (
            ("MATCHED_VARS:REQUEST_HEADERS:authorization", "x", False),
            ("MATCHED_VARS:REQUEST_COOKIES:sid", "x", False),
            ("MATCHED_VARS:ARGS:password", "x", False),
            ("MATCHED_VARS:ARGS:q", "x", True),
            ("MATCHED_VARS", "x", False),
            ("MATCHED_VAR", "x", False),
            ("TX:1", "123456", False),
            ("TX:seen", "x", False),
            ("TX:ANOMALY_SCORE", "15", True),
        ):
            self.assertEqual(masking.value(variable, value), value if told else MASK, variable)

    def test_names(self) -> None:
        masking = Masking(["Token", "password"])
        for variable in (
            "ARGS:token",
            "ARGS_POST:PassWord",
            "REQUEST_COOKIES:token",
            "REQUEST_HEADERS:Token",
            "ARGS:json.user.password",
            "ARGS:json.password.0",
        ):
            self.assertEqual(masking.value(variable, "s3cret"), MASK, variable)
        self.assertEqual(masking.value("ARGS:q", "my password"), "my password")
        self.assertEqual(masking.value("ARGS_NAMES:q", "q"), "q")

    def test_wholes(self) -> None:
        """A value in which a name occurs may hold what stands under it."""
        masking = Masking(["token"])
        for variable in (
            "REQUEST_URI",
            "QUERY_STRING",
            "REQUEST_BODY",
            "XML:/*",
            "REQUEST_HEADERS:Referer",
        ):
            for value in ("/?a=1&token=s", "/?a=1&%74oken=s", '{"TOKEN": "s"}'):
                self.assertEqual(masking.value(variable, value), MASK, (variable, value))
            self.assertEqual(masking.value(variable, "/?a=1"), "/?a=1")

    def test_target(self) -> None:
        masking = Masking(["token"], redactor(["token"]))
        self.assertEqual(masking.target(b"/a?token=s&b=\xff"), "/a?token=***&b=\xff")
        self.assertEqual(Masking([]).target(b"/a?b=1"), "/a?b=1")


class LineTests(SynchronousTestCase):
    def test_line(self) -> None:
        exchange: Any = SimpleNamespace(
            request_id=b"r1",
            client=b"10.0.0.1",
            plan=SimpleNamespace(name=b"shop"),
            head=SimpleNamespace(
                method=b"GET", host=b"a.example", target=SimpleNamespace(origin=b"/?token=s")
            ),
        )
        match = {"id": 942100, "message": "SQL", "variable": "ARGS:token", "value": "s"}
        masking = Masking(["token"], redactor(["token"]))
        text = line(1.5, masking, "request", "blocked", 5, [match], exchange)
        self.assertNotIn("\n", text)
        self.assertEqual(
            json.loads(text),
            {
                "time": "1970-01-01T00:00:01.500Z",
                "request_id": "r1",
                "client": "10.0.0.1",
                "route": "shop",
                "method": "GET",
                "host": "a.example",
                "target": "/?token=***",
                "part": "request",
                "action": "blocked",
                "score": 5,
                "rules": [
                    {"id": 942100, "message": "SQL", "variable": "ARGS:token", "value": MASK}
                ],
            },
        )


class FileTests(SynchronousTestCase):
    def test_written_and_reopened(self) -> None:
        path = Path(self.mktemp())
        audit = AuditFile(str(path))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        audit.write("one")
        moved = path.rename(path.with_suffix(".1"))
        audit.write("two")
        audit.reopen()
        audit.write("three")
        audit.close()
        audit.write("four")
        self.assertEqual(moved.read_text(), "one\ntwo\n")
        self.assertEqual(path.read_text(), "three\n")

    def test_no_place(self) -> None:
        self.assertRaises(OSError, AuditFile, "/nonexistent/audit.log")
        folder = Path(self.mktemp())
        folder.mkdir()
        audit = AuditFile(str(folder / "a"))
        self.addCleanup(audit.close)
        (folder / "a").unlink()
        folder.rmdir()
        self.assertRaises(OSError, audit.reopen)
        audit.write("still there")

    def test_full_disk(self) -> None:
        audit = AuditFile("/dev/full")
        audit.write("lost")
        audit.close()
