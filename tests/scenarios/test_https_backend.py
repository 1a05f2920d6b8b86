"""Backends over TLS: the same conversations, and those that only TLS can spoil.

The origins speak TLS by Twisted's own protocol, so that two implementations meet.
"""

import hashlib
import os
import tempfile

from twisted.internet import reactor, ssl
from twisted.protocols.tls import TLSMemoryBIOFactory

from tests.scenarios.harness import EMPTY_OK, GET, Scenario, ok
from tests.scenarios.wire import Origin
from tests.tls import pki
from txrproxy.config.build import build
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import loads


class SecureOrigin(Origin):
    """An origin at an https:// address."""

    host = "127.0.0.1"

    @property
    def url(self):
        return f"https://{self.host}:{self.address.partition(':')[2]}"


class _Creator(ssl.ContextFactory):
    def __init__(self, identity):
        self._context = pki.server_context(identity)

    def getContext(self):
        return self._context


class SecureScenario(Scenario):
    def setUp(self):
        super().setUp()
        folder = tempfile.mkdtemp(dir=os.getcwd())
        self.ca = os.path.join(folder, "ca.pem")
        with open(self.ca, "wb") as file:
            file.write(pki.authority().pem)
        self.tls = f'tls = {{ ca = "{self.ca}" }}'

    async def secure(self, *names, issuer="Test CA"):
        origin = SecureOrigin("secure origin")
        identity = pki.leaf(*(names or ("127.0.0.1", "localhost")), issuer=issuer)
        wrapped = TLSMemoryBIOFactory(_Creator(identity), False, origin)
        origin.port = reactor.listenTCP(0, wrapped, interface="127.0.0.1")
        self._origins.append(origin)
        return origin

    async def secure_pair(self, origin=None, **parts):
        origin = origin or await self.secure()
        proxy = await self.proxy(origin, pool=parts.pop("pool", self.tls), **parts)
        return origin, proxy, await self.client(proxy)


class ExchangeTests(SecureScenario):
    async def test_kept_connection(self):
        origin, proxy, client = await self.secure_pair()
        for number in range(3):
            body = b"%d" % number
            seen, response = await self.exchange(client, origin, reply=ok(body))
            self.assertEqual(seen.get(b"host"), b"a.example")
            self.assertEqual(response.body, body)
        self.assertEqual(len(origin.wires), 1)
        self.assertEqual(proxy.idle(), 1)
        self.assertEqual(proxy.log.reasons, [b"ok"] * 3)

    async def test_by_name(self):
        origin = await self.secure("localhost")
        origin.host = "localhost"
        _, _, client = await self.secure_pair(origin)
        await self.exchange(client, origin)

    async def test_by_another_name(self):
        origin = await self.secure("app.internal")
        tls = f'tls = {{ ca = "{self.ca}", server_name = "app.internal" }}'
        _, _, client = await self.secure_pair(origin, pool=tls)
        await self.exchange(client, origin)

    async def test_large_bodies(self):
        origin, _, client = await self.secure_pair(policy='body_limit = "8MiB"')
        body = os.urandom(4 << 20)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        seen = await origin.request()
        self.assertEqual(hashlib.sha256(seen.body).digest(), hashlib.sha256(body).digest())
        origin.reply(ok(body))
        response = await client.response()
        self.assertEqual(hashlib.sha256(response.body).digest(), hashlib.sha256(body).digest())

    async def test_upgrade(self):
        origin, _, client = await self.secure_pair()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        await origin.request()
        origin.reply(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nfrom there")
        response = await client.head()
        self.assertEqual(response.status, 101)
        self.assertEqual(await client.exactly(10), b"from there")
        client.send(b"from here")
        self.assertEqual(await origin.wire.exactly(9), b"from here")


class EndTests(SecureScenario):
    async def _until_close(self, end):
        origin, proxy, client = await self.secure_pair()
        client.send(GET)
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\n\r\nall there is")
        end(origin.wire)
        return await proxy.log.record(), client

    async def test_close_notify_completes_a_body(self):
        record, client = await self._until_close(lambda wire: wire.close())
        response = await client.response()
        self.assertEqual(response.body, b"all there is")
        self.assertTrue(response.whole)
        self.assertEqual(record.reason, b"ok")

    async def test_an_end_without_it_does_not(self):
        record, _ = await self._until_close(lambda wire: wire.transport.transport.loseConnection())
        self.assertEqual(record.reason, b"truncated")

    async def test_closed_while_idle(self):
        origin, proxy, client = await self.secure_pair()
        await self.exchange(client, origin)
        origin.wire.close()
        await self.until(lambda: not proxy.idle(), "the connection to be forgotten")
        await self.exchange(client, origin)
        self.assertEqual(len(origin.wires), 2)


class RefusedTests(SecureScenario):
    async def _refused(self, origin, reason, **parts):
        _, proxy, client = await self.secure_pair(origin, **parts)
        client.send(GET)
        response = await client.response()
        self.assertEqual(response.status, 502)
        self.assertEqual((await proxy.log.record()).reason, reason)
        self.assertTrue(all(not wire.received for wire in origin.wires))

    async def test_wrong_name(self):
        await self._refused(await self.secure("other"), b"tls_verify_failed")

    async def test_unknown_authority(self):
        origin = await self.secure("127.0.0.1", issuer="Somebody")
        await self._refused(origin, b"tls_verify_failed")

    async def test_the_system_does_not_know_us(self):
        await self._refused(await self.secure(), b"tls_verify_failed", pool="")

    async def test_no_tls_there(self):
        origin = await self.origin()
        origin.prepare = lambda wire: setattr(
            wire, "connectionMade", lambda: wire.transport.write(b"HTTP/1.1 400 Bad\r\n\r\n")
        )
        proxy = await self.proxy(origin.url.replace("http:", "https:"), pool=self.tls)
        client = await self.client(proxy)
        client.send(GET)
        self.assertEqual((await client.response()).status, 502)
        self.assertEqual((await proxy.log.record()).reason, b"tls_handshake_failed")

    async def test_not_verified_when_told_so(self):
        origin = await self.secure("other", issuer=None)
        _, _, client = await self.secure_pair(origin, pool="tls = { verify = false }")
        await self.exchange(client, origin)

    async def test_another_backend_is_tried(self):
        bad, good = await self.secure("other"), await self.secure()
        proxy = await self.proxy(bad, good, pool=self.tls)
        client = await self.client(proxy)
        for _ in range(2):
            await self.exchange(client, good, reply=EMPTY_OK)


class MaterialTests(SecureScenario):
    def _errors(self, tls):
        with self.assertRaises(ConfigErrors) as caught:
            build(loads(self.config("https://a", pool=f"tls = {{ {tls} }}")), reactor)
        return str(caught.exception)

    def test_what_can_not_be_read(self):
        self.assertIn(
            "pools.app.tls.ca: cannot be read: No such file", self._errors('ca = "/nowhere"')
        )
        self.assertIn(
            "pools.app.tls.key: cannot be read: not set",
            self._errors(f'cert = "{self.ca}", key = "env:TXRPROXY_NOT_SET"'),
        )

    def test_what_does_not_fit(self):
        with open(self.ca + ".key", "wb") as file:
            file.write(pki.leaf("a").key_pem)
        self.assertIn(
            "pools.app.tls: the key does not belong to the certificate",
            self._errors(f'cert = "{self.ca}", key = "file:{self.ca}.key"'),
        )
