"""The demonstration behind the proxy, with the origins and the file that `make run` has."""

import json
import re

from twisted.internet import reactor
from twisted.internet.task import Clock

from tests.scenarios.harness import Timed
from tests.scenarios.test_caching import Cached
from tests.test_demo import DEMO_TOML
from txrproxy import demo


class DemoTests(Cached):
    async def demo(self, clock=reactor, timed=False):
        service = demo.demo_service(clock, (0, 0))
        service.startService()
        self.addCleanup(service.stopService)
        text = DEMO_TOML.read_text()
        for there, origin in zip(("8081", "8082"), service, strict=True):
            text = text.replace(f"127.0.0.1:{there}", origin.address)
        text = text.replace('path = "state/cache"', f'path = "{self.folder}"')
        # What is not of interest here: TLS, which would write a certificate beside the file.
        text = re.sub(r"(?s)\[listeners\.https\].*?(?=\[pools)", "", text)
        self.proxied = await self.proxy(toml=text, timed=timed)
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

    async def test_nobody_notices_that_an_origin_is_gone_for_a_while(self):
        clock = Clock()
        client = await self.demo(Timed(clock), timed=True)

        async def served_by(count):
            seen = set()
            for _ in range(count):
                response = await self.ask(client, b"GET /headers HTTP/1.1\r\nHost: a\r\n\r\n")
                self.assertEqual(response.status, 200)
                seen.add(json.loads(response.body)["origin"])
            return seen

        both = await served_by(4)
        gone = await self.ask(client, b"GET /away?seconds=9 HTTP/1.1\r\nHost: a\r\n\r\n")
        clock.advance(1)
        self.assertEqual(len(await served_by(12)), 1)
        clock.advance(9)
        self.proxied.wait(6)  # it is left out for 5 seconds
        while await served_by(6) != both:
            pass  # every one of these is answered; trial bounds the wait
        self.assertIn(gone.body.split()[0].decode(), both)


STORED = b"txrproxy; fwd=uri-miss; stored"
