"""The tables of attacks and of honest traffic, sent to a proxy: in mode "block" and in "detect".

``tests/waf/traffic.py`` has them, and ``tests/waf/test_crs.py`` says which share of each kind is to
be found. Here is shown what becomes of that on the way: who is refused, and what is written of it.
"""

import json
from pathlib import Path

from tests.scenarios.harness import Scenario
from tests.waf.traffic import ATTACKS, HONEST
from txrproxy.waf.rules import NoRules, find_crs

LEAST = 0.9  # of all attacks together


class TableTests(Scenario):
    async def walled(self, mode):
        try:
            find_crs("auto")
        except NoRules as error:
            self.skipTest(str(error))
        self.audit = Path(self.mktemp()).absolute()
        toml = self.config(
            "http://127.0.0.1:1",
            policy=f'waf = {{ mode = "{mode}" }}',
            more=f'[waf]\ntimeout = "30s"\naudit = {{ path = "{self.audit}" }}',
            route='respond = { status = 200, body = "served" }',
        )
        proxy = await self.proxy(toml=toml.replace('pool = "app"\n', "\n"))
        proxy.graph.firewalls.start()
        await proxy.graph.firewalls.engines.ready()
        return proxy

    async def statuses(self, proxy, samples):
        """What each was answered with, by its place."""
        found = []
        client = None
        for sample in samples:
            if client is None or client.over:
                client = await self.client(proxy)
            lines = [b"%b %b HTTP/1.1" % (sample.method, sample.target)]
            lines += [b"%b: %b" % field for field in sample.all_fields]
            client.send(b"\r\n".join(lines) + b"\r\n\r\n" + sample.body)
            response = await client.response(to=sample.method)
            found.append(response.status)
            if response.get(b"connection") == b"close":
                await client.ended()
        return found

    def actions(self):
        return [json.loads(line)["action"] for line in self.audit.read_text().splitlines()]

    async def test_attacks(self):
        proxy = await self.walled("block")
        blocked = await self.statuses(proxy, ATTACKS)
        self.assertLessEqual(set(blocked), {200, 400, 403})
        share = 1 - blocked.count(200) / len(ATTACKS)
        self.assertGreaterEqual(share, LEAST, f"{share:.1%} of {len(ATTACKS)} attacks were refused")
        self.assertEqual(self.actions().count("blocked"), blocked.count(403))
        self.assertNotIn("detected", self.actions())

        proxy = await self.walled("detect")
        detected = await self.statuses(proxy, ATTACKS)
        # What is no HTTP at all is refused by no rule, and in every mode.
        self.assertEqual(detected, [400 if status == 400 else 200 for status in blocked])
        self.assertEqual(self.actions().count("detected"), blocked.count(403))
        self.assertNotIn("blocked", self.actions())

    async def test_honest(self):
        for mode in ("block", "detect"):
            proxy = await self.walled(mode)
            statuses = await self.statuses(proxy, HONEST)
            wrong = [s.name for s, status in zip(HONEST, statuses, strict=True) if status != 200]
            self.assertEqual(wrong, [], f"{len(wrong)} of {len(HONEST)} honest requests refused")
            if self.audit.exists():
                self.assertLessEqual(set(self.actions()), {"passed"})
