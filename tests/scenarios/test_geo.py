"""Access by country and network operator, with databases that change while they are in use."""

import os
from pathlib import Path

from twisted.logger import formatEvent, globalLogPublisher

from tests.guards.mmdb import database
from tests.scenarios.harness import Scenario
from txrproxy.config.problems import ConfigErrors
from txrproxy.filters import access

HOME, AWAY = b"192.0.2.1", b"198.51.100.1"


class GeoTests(Scenario):
    def write(self, country="CH"):
        known = {
            "192.0.2.0/24": {"country": {"iso_code": country}},
            "2001:db8::/32": {"country": {"iso_code": "LI"}},
        }
        operators = {"192.0.2.0/25": {"autonomous_system_number": 64496}}
        self.put("c.mmdb", database(known))
        self.put("a.mmdb", database(operators, "Test-ASN"))

    def put(self, name, content):
        if not hasattr(self, "folder"):
            self.folder = Path(self.mktemp()).absolute()
            self.folder.mkdir()
        fresh = self.folder / "fresh"
        fresh.write_bytes(content)
        os.replace(fresh, self.folder / name)

    async def served(self, rules, more="", **parts):
        if not hasattr(self, "folder"):
            self.write()
        files = f'files = ["{self.folder}/c.mmdb", "{self.folder}/a.mmdb"]'
        text = self.config(
            "http://127.0.0.1:1",
            policy=f"{more}\ngeo = {{ {files}, {rules} }}",
            server='trusted_proxies = ["127.0.0.1"]',
            **parts,
        )
        proxy = await self.proxy(
            toml=text.replace('pool = "app"', "respond = { status = 200 }"), timed=True
        )
        proxy.graph.start()
        return proxy, await self.client(proxy)

    async def status(self, client, address):
        lines = b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: %b\r\n\r\n" % address
        return (await self.ask(client, lines)).status

    async def looked(self, proxy, index=0):
        """The file has been looked at once more."""
        watched = proxy.graph.policies.parts["rules", "access"].running[index]
        seen = watched._seen
        proxy.wait(10)
        await self.until(lambda: watched._seen != seen, "a look at the file")

    async def test_table(self):
        for rules, more, passes, refused in (
            ('allow = ["CH"]', "", (HOME, b"::ffff:192.0.2.1"), (AWAY, b"2001:db8::1")),
            ('allow = ["CH", "unknown"]', "", (HOME, AWAY), (b"2001:db8::1",)),
            ('deny = ["CH"]', "", (AWAY, b"2001:db8::1"), (HOME, b"192.0.2.200")),
            ('deny = ["unknown"]', "", (HOME,), (AWAY, b"2001:db9::1")),
            ('allow = ["AS64496"]', "", (HOME,), (b"192.0.2.200", AWAY)),
            ('allow = ["CH"], deny = ["AS64496"]', "", (b"192.0.2.200",), (HOME,)),
            ('allow = ["CH"]', 'deny = ["192.0.2.1"]', (b"192.0.2.2",), (HOME,)),
            ('allow = ["CH"]', 'allow = ["198.51.100.0/24"]', (), (HOME, AWAY)),
        ):
            _, client = await self.served(rules, more)
            for address in (*passes, *refused):
                expected = 200 if address in passes else 403
                self.assertEqual(await self.status(client, address), expected, (rules, address))

    async def test_the_file_changes(self):
        proxy, client = await self.served('allow = ["CH"]')
        self.assertEqual(await self.status(client, HOME), 200)
        self.write("DE")
        await self.looked(proxy)
        self.assertEqual(await self.status(client, HOME), 403)

    async def test_a_broken_file_changes_nothing(self):
        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        proxy, client = await self.served('allow = ["CH"]')
        for change in (
            lambda: self.put("c.mmdb", b"no database"),
            (self.folder / "c.mmdb").unlink,
        ):
            events.clear()
            change()
            await self.looked(proxy)
            self.assertEqual(await self.status(client, HOME), 200)
            self.assertEqual(await self.status(client, AWAY), 403)
            words = " ".join(map(formatEvent, events))
            self.assertIn("c.mmdb can not be used", words)
            self.assertIn("what was read before still counts", words)

    async def test_a_file_that_is_cut_under_us(self):
        """A database in use is not the file: writing over it reaches nobody."""
        _, client = await self.served('allow = ["CH"]')
        os.truncate(self.folder / "c.mmdb", 0)
        for last in range(1, 20):
            self.assertEqual(await self.status(client, b"192.0.2.%d" % last), 200)

    async def test_nothing_to_use(self):
        self.put("c.mmdb", b"no database")
        self.put("a.mmdb", b"")
        with self.assertRaisesRegex(ConfigErrors, "not a database in MaxMind's format") as caught:
            await self.served('allow = ["CH"]')
        self.assertIn("policies.rules.geo.files[0]", str(caught.exception))

    async def test_a_flood_is_not_remembered(self):
        self.patch(access, "REMEMBERED", 16)
        asked = []
        proxy, client = await self.served('allow = ["CH"]')
        for file in proxy.graph.policies.parts["rules", "access"].running:
            real = file.value.places
            file.value.places = lambda a, r=real: asked.append(a) or r(a)
        for last in range(40):
            await self.status(client, b"192.0.2.%d" % last)
        before = len(asked)
        self.assertEqual(before, 80)  # of each, both were asked once
        await self.status(client, b"192.0.2.39")
        self.assertEqual(len(asked), before)
