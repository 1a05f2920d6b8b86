"""Clients that stay where they are, through the whole proxy: sticky sessions and sticky splits."""

import re
import stat
import tempfile
from pathlib import Path

from tests.scenarios.harness import GET, Scenario, ok
from tests.scenarios.test_retries import always
from txrproxy.balance.backend import State

COOKIE = re.compile(rb"(txr=[\w-]{22}); Path=/; HttpOnly; SameSite=Lax")


def asking(cookie):
    return b"GET / HTTP/1.1\r\nHost: a\r\nCookie: other=1; %b\r\n\r\n" % cookie


class StickyScenario(Scenario):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.sticky = 'sticky = { cookie = "txr" }\n'
        self.state = f'state_dir = "{self.folder}/state"'

    async def origins(self, *names):
        found = []
        for name in names:
            origin = await self.origin(name)
            origin.prepare = always(ok(name.encode()))
            found.append(origin)
        return found

    async def get(self, client, cookie=b""):
        """Who answered, and the cookie that was set, None for none."""
        response = await self.ask(client, asking(cookie) if cookie else GET)
        self.assertEqual(response.status, 200)
        line = response.get(b"set-cookie")
        if line is None:
            return response.body, None
        found = COOKIE.fullmatch(line)
        assert found is not None, line
        return response.body, found[1]


class StickyTests(StickyScenario):
    async def start(self, *origins, pool=""):
        self.proxied = await self.proxy(*origins, pool=self.sticky + pool, server=self.state)
        return await self.client(self.proxied)

    async def test_a_client_stays(self):
        origins = await self.origins("first", "second")
        client = await self.start(*origins)
        cookies = dict([await self.get(client), await self.get(client)])
        self.assertEqual(set(cookies), {b"first", b"second"})
        for name, cookie in cookies.items():
            for _ in range(5):
                self.assertEqual(await self.get(client, cookie), (name, None))

    async def test_after_a_restart(self):
        origins = await self.origins("first", "second")
        client = await self.start(*origins)
        name, cookie = await self.get(client)
        key = self.folder / "state" / "sticky.key"
        self.assertEqual(stat.S_IMODE(key.stat().st_mode), 0o600)
        again = await self.start(*reversed(origins))
        for _ in range(4):
            self.assertEqual(await self.get(again, cookie), (name, None))

    async def test_cookies_of_nobody(self):
        client = await self.start(*await self.origins("first", "second"))
        for cookie in (b"txr=", b"txr=" + b"A" * 22, b"txr=127.0.0.1:80", b"txr=\xff"):
            name, given = await self.get(client, cookie)
            self.assertEqual(await self.get(client, given), (name, None))

    async def test_to_another_when_its_own_may_not_be_used(self):
        first, second = await self.origins("first", "second")
        client = await self.start(first, second, pool="[pools.app.retry]\n")
        _, cookie = await self.get(client)
        pool = self.proxied.graph.pools["app"]
        backend = pool.backends[0]
        for state in (State.DRAIN, State.DOWN):
            pool.set_state(backend, state, 0.0)
            name, other = await self.get(client, cookie)
            self.assertEqual(name, b"second")
            self.assertNotIn(other, (None, cookie))
        pool.set_state(backend, State.UP, 0.0)
        self.assertEqual(await self.get(client, cookie), (b"first", None))
        pool.set_health(backend, False, 0.0)
        self.assertEqual((await self.get(client, cookie))[0], b"second")

    async def test_in_panic_too(self):
        client = await self.start(*await self.origins("first", "second"))
        _, cookie = await self.get(client)
        pool = self.proxied.graph.pools["app"]
        for backend in pool.backends:
            pool.set_health(backend, False, 0.0)
        self.assertTrue(pool.panicking)
        for _ in range(4):
            self.assertEqual(await self.get(client, cookie), (b"first", None))


class SplitTests(StickyScenario):
    async def test_a_client_stays_with_its_pool(self):
        one, two = await self.origins("one", "two")
        text = self.config(
            one.url,
            pool=self.sticky,
            server=self.state,
            more=f'[pools.next]\nbackends = ["{two.url}"]\n{self.sticky}',
        )
        text = text.replace('pool = "app"', "split = { app = 3, next = 1 }")
        proxy = await self.proxy(toml=text)
        client = await self.client(proxy)
        found = [await self.get(client) for _ in range(8)]
        self.assertEqual([name for name, _ in found].count(b"one"), 6)
        for name, cookie in set(found):
            for _ in range(8):
                self.assertEqual(await self.get(client, cookie), (name, None))
        # Until that has nobody left.
        pool = proxy.graph.pools["next"]
        pool.set_state(pool.backends[0], State.DOWN, 0.0)
        name, cookie = await self.get(client, dict(found)[b"two"])
        self.assertEqual(name, b"one")
        self.assertIsNotNone(cookie)
