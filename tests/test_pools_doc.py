"""The examples of ``docs/pools.md`` are configurations that load and build."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config.build import build
from txrproxy.config.toml import loads_with_warnings
from txrproxy.observe.accesslog import open_log

TEXT = (Path(__file__).parents[1] / "docs" / "pools.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
BACKENDS = 'backends = ["http://10.0.0.1:8080"]\n'


def whole(block: str, state: str) -> str:
    """A file around an example, which may be a part of the pool "app" or of a route."""
    pools = ""
    if not block.lstrip().startswith("[pools.") and "[[routes]]" not in block:
        block = "[pools.app]\n" + block
    for name in ("app", "next"):
        if f"[pools.{name}]\n" not in block:
            pools += f"[pools.{name}]\n{BACKENDS}"
    if "backends = [" not in block and "[pools.app]\n" in block:
        block = block.replace("[pools.app]\n", "[pools.app]\n" + BACKENDS)
    routes = ""
    for name in re.findall(r"^\[pools\.(\w+)\]", pools + block, re.MULTILINE):
        routes += (
            f'[[routes]]\nname = "to-{name}"\nmatch = {{ path = "/{name}" }}\npool = "{name}"\n'
        )
    head = f'version = 1\n[server]\nstate_dir = "{state}"\n'
    return head + '[listeners.http]\nbind = ["127.0.0.1:0"]\n' + pools + block + routes


class ExampleTests(SynchronousTestCase):
    def test_examples(self) -> None:
        self.assertGreater(len(BLOCKS), 10)
        state = Path(self.mktemp())
        for block in BLOCKS:
            reactor = MemoryReactorClock()
            log = open_log("-", "off", (), reactor)
            config, warnings = loads_with_warnings(whole(block, str(state.resolve())))
            odd = [each for each in warnings if not each.key.startswith("routes")]
            self.assertEqual(odd, [], block)
            graph = build(config, reactor, log)
            self.assertTrue(graph.pools)
            graph.deadlines.close()
