"""The cached route of the demonstration, with the origins and the file that `make run` has."""

import re

from twisted.internet import reactor

from tests.scenarios.test_caching import Cached
from tests.test_demo import DEMO_TOML
from txrproxy import demo


class DemoTests(Cached):
    async def demo(self):
        service = demo.demo_service(reactor, (0, 0))
        service.startService()
        self.addCleanup(service.stopService)
        text = DEMO_TOML.read_text()
        for there, origin in zip(("8081", "8082"), service, strict=True):
            text = text.replace(f"127.0.0.1:{there}", origin.address)
        text = text.replace('path = "state/cache"', f'path = "{self.folder}"')
        # What is not of interest here: TLS, which would write a certificate beside the file.
        text = re.sub(r"(?s)\[listeners\.https\].*?(?=\[pools)", "", text)
        self.proxied = await self.proxy(toml=text)
        self.store, _ = self.proxied.graph.caches["demo"]
        self.store.open()
        await self.until(lambda: self.store.writer.storing, "the cache to be ready")
        return await self.client(self.proxied)

    async def test_cache_status_says_hit(self):
        client = await self.demo()
        for target in (b"/static/demo.css", b"/report?seconds=0"):
            asked = b"GET %b HTTP/1.1\r\nHost: a.example\r\n\r\n" % target
            first = await self.ask(client, asked)
            self.assertEqual((first.status, self.status(first)), (200, STORED))
            second = await self.ask(client, asked)
            self.assertIn(b"txrproxy; hit; ttl=", self.status(second))
            self.assertEqual(second.body, first.body)
        page = await self.ask(client, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        self.assertEqual((page.status, self.status(page)), (200, None))


STORED = b"txrproxy; fwd=uri-miss; stored"
