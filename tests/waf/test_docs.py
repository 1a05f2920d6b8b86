"""What ``docs/waf.md`` shows is so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config.toml import loads
from txrproxy.config.waf import waf_of
from txrproxy.waf.audit import Masking, line
from txrproxy.waf.rules import MAX_ARGUMENTS, UNREADABLE

TEXT = (Path(__file__).parents[2] / "docs" / "waf.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)


class DocsTests(SynchronousTestCase):
    def test_examples(self) -> None:
        first, second = blocks("toml")
        self.assertEqual(waf_of(config := loads(first), config.routes[0]).mode, "detect")  # type: ignore[union-attr]
        text = first.replace('[policies.guarded]\nwaf = { mode = "detect" }\n', "")
        table, route = text.split("[[routes]]")
        policies, editor = second.split("[[routes]]")
        config = loads(f"{table}{policies}[[routes]]{editor}[[routes]]{route}")
        (editing, all_) = (waf_of(config, route) for route in config.routes)
        self.assertEqual(editing.exclude, ("attack-xss",))  # type: ignore[union-attr]
        self.assertEqual(all_.mode, "block")  # type: ignore[union-attr]

    def test_audit_line(self) -> None:
        (shown,) = map(json.loads, blocks("json"))
        exchange: Any = SimpleNamespace(
            request_id=b"",
            client=b"",
            plan=SimpleNamespace(name=b""),
            head=SimpleNamespace(method=b"", host=b"", target=SimpleNamespace(origin=b"")),
        )
        written = json.loads(line(0.0, Masking([]), "", "", 0, shown["rules"], exchange))
        self.assertEqual([*shown], [*written])

    def test_numbers(self) -> None:
        self.assertIn(f"more than {MAX_ARGUMENTS} arguments", TEXT)
        self.assertIn(f"rules {min(UNREADABLE)} to {max(UNREADABLE)}", TEXT)
