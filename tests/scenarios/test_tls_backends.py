"""https:// backends: nothing is sent to one that is not known to be who it should be."""

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet import reactor

from tests.scenarios.harness import GET, MIB, Refusing, ok
from tests.scenarios.test_upgrade import ASK, SWITCH
from tests.scenarios.tls import ALICE, CLIENTS, ROOT, SERVER, SecureScenario
from tests.tls.authority import authority
from txrproxy.config.build import build
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import loads
from txrproxy.tls.binding import is_resumed

OTHER = ROOT.issue("other.example", subject="other")
EXPIRED = ROOT.issue("127.0.0.1", subject="expired", days=-1)
STRANGER = authority("stranger").issue("127.0.0.1", subject="stranger")
SELF_SIGNED = authority("127.0.0.1")


def serving(issued, *, version=None, asks=False):
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    if version:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    context.use_certificate(issued.certificate)
    context.use_privatekey(issued.key)
    context.set_session_id(b"origin")
    if asks:
        context.get_cert_store().add_cert(X509.from_cryptography(CLIENTS.certificate))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    return context


class BackendTests(SecureScenario):
    async def behind(self, issued=SERVER, *, more="", ca=True, keepalive="", **how):
        """An origin with this certificate, and a plain proxy that trusts ``ROOT``."""
        origin = await self.secure_origin(serving(issued, **how))
        trust = f'ca = "{self.file("root.pem", ROOT.pem)}"' if ca else ""
        settings = ", ".join(part for part in (trust, more) if part)
        proxy = await self.proxy(origin, pool=f"tls = {{ {settings} }}\n{keepalive}")
        return origin, proxy, await self.client(proxy)

    async def test_verified(self):
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            origin, proxy, client = await self.behind(version=version)
            for body in (b"one", b"two", b"x" * MIB):
                _, response = await self.exchange(client, origin, GET, ok(body))
                self.assertEqual(response.body, body)
            self.assertEqual(len(origin.wires), 1)
            record = await proxy.log.record()
            self.assertEqual(record.reason, b"ok")
            self.assertIn(origin.address.encode(), record.backend)

    async def test_request_body(self):
        origin, _, client = await self.behind()
        body = bytes(range(256)) * 4096
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        self.assertEqual((await origin.request()).body, body)
        origin.reply(ok())
        await client.response()

    async def test_tls_on_both_sides(self):
        origin = await self.secure_origin(serving(SERVER))
        ca = self.file("root.pem", ROOT.pem)
        proxy = await self.secure_proxy(origin, pool=f'tls = {{ ca = "{ca}" }}')
        client = await self.secure(proxy)
        seen, response = await self.exchange(client, origin, GET, ok(b"both"))
        self.assertEqual(response.body, b"both")
        self.assertEqual(seen.get(b"x-forwarded-proto"), b"https")

    async def test_by_name(self):
        origin = await self.secure_origin(serving(SERVER))
        ca = self.file("root.pem", ROOT.pem)
        url = origin.url.replace("127.0.0.1", "localhost")
        proxy = await self.proxy(url, pool=f'tls = {{ ca = "{ca}" }}')
        client = await self.client(proxy)
        await self.exchange(client, origin)
        self.assertEqual(origin.wire.transport.getHandle().get_servername(), b"localhost")

    async def test_upgrade(self):
        origin, _, client = await self.behind()
        client.send(ASK)
        await origin.head()
        origin.reply(SWITCH + b"from there")
        self.assertEqual((await client.response()).status, 101)
        self.assertEqual(await client.exactly(10), b"from there")
        client.send(b"from here")
        self.assertEqual(await origin.wire.exactly(9), b"from here")

    async def refused(self, issued, reason=b"tls_verify_failed", **how):
        origin, proxy, client = await self.behind(issued, **how)
        response = await self.ask(client, GET)
        self.assertEqual(response.status, 502)
        for inside in (b"certificate", b"OpenSSL", b"verify", origin.address.encode()):
            self.assertNotIn(inside, response.body)
        self.assertEqual((await proxy.log.record()).reason, reason)
        self.assertTrue(all(not wire.received for wire in origin.wires))

    async def test_not_verified(self):
        for issued in (OTHER, EXPIRED, STRANGER, SELF_SIGNED):
            await self.refused(issued)

    async def test_authorities_of_the_system_do_not_know_it(self):
        await self.refused(SERVER, ca=False)

    async def test_name_of_its_own(self):
        origin, _, client = await self.behind(OTHER, more='server_name = "other.example"')
        await self.exchange(client, origin)
        connection = origin.wire.transport.getHandle()
        self.assertEqual(connection.get_servername(), b"other.example")
        await self.refused(SERVER, more='server_name = "other.example"')

    async def test_not_asked_to_verify(self):
        origin, _, client = await self.behind(STRANGER, ca=False, more="verify = false")
        await self.exchange(client, origin)

    async def test_client_certificate(self):
        source = ALICE.write(self.folder, "alice")
        mine = f'cert = "{source.cert}", key = "file:{source.key.name}"'
        origin, _, client = await self.behind(asks=True, more=mine)
        await self.exchange(client, origin)
        shown = origin.wire.transport.getPeerCertificate().to_cryptography()
        self.assertEqual(shown, ALICE.certificate)

    async def test_without_the_client_certificate_it_asks_for(self):
        origin, _, client = await self.behind(asks=True, version=SSL.TLS1_2_VERSION)
        self.assertEqual((await self.ask(client, GET)).status, 502)
        self.assertTrue(all(not wire.received for wire in origin.wires))

    async def test_session_is_resumed(self):
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            origin, _, client = await self.behind(version=version)
            close = ok(b"x", b"Connection: close")
            resumed = []
            for _ in range(3):
                await self.exchange(client, origin, GET, close)
                resumed.append(is_resumed(origin.wire.transport.getHandle()))
                origin.wire.close()
                await origin.wire.ended()
            self.assertEqual(resumed, [False, True, True])
            self.assertEqual(len(origin.wires), 3)

    async def test_one_that_speaks_plain_text(self):
        origin = await self.origin()
        proxy = await self.proxy(origin.url.replace("http:", "https:"))
        client = await self.client(proxy)
        client.send(GET)
        wire = await origin.accept()
        self.assertTrue((await wire.some()).startswith(b"\x16\x03"))
        wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertEqual((await client.response()).status, 502)
        self.assertEqual((await proxy.log.record()).reason, b"tls_handshake_failed")

    async def test_one_that_hangs_up(self):
        origin = await self.origin()
        origin.prepare = lambda wire: self.later(wire.until(lambda: wire.total, "")).addCallback(
            lambda _: wire.close()
        )
        proxy = await self.proxy(origin.url.replace("http:", "https:"))
        client = await self.client(proxy)
        self.assertEqual((await self.ask(client, GET)).status, 502)
        self.assertEqual((await proxy.log.record()).reason, b"tls_handshake_failed")

    async def test_one_that_stalls_is_504(self):
        origin = await self.origin()
        proxy = await self.proxy(origin.url.replace("http:", "https:"), timed=True)
        client = await self.client(proxy)
        client.send(GET)
        wire = await origin.accept()
        await wire.some()
        for _ in range(3):
            proxy.wait(3)
            await self.turns()
        self.assertEqual((await client.response()).status, 504)
        self.assertEqual((await proxy.log.record()).reason, b"connect_timeout")

    async def test_next_one_is_asked(self):
        bad = await self.secure_origin(serving(STRANGER), "bad")
        good = await self.secure_origin(serving(SERVER), "good")
        refusing = Refusing()
        self.addCleanup(refusing.close)
        ca = self.file("root.pem", ROOT.pem)
        proxy = await self.proxy(bad, good, pool=f'tls = {{ ca = "{ca}" }}')
        for _ in range(4):
            client = await self.client(proxy)
            _, response = await self.exchange(client, good)
            self.assertEqual(response.status, 200)
        self.assertTrue(all(not wire.received for wire in bad.wires))

    async def test_truncated_response_is_not_whole(self):
        """Until close, only a close_notify says that it is all."""
        origin, proxy, client = await self.behind()
        client.send(GET)
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\n\r\npart")
        await client.until(lambda: b"part" in client.received, "the first part")
        # The transport below, closed in order and without a close_notify.
        origin.wire.transport.transport.loseConnection()
        await client.ended()
        self.assertEqual((await proxy.log.record()).reason, b"truncated")

    async def test_response_until_close(self):
        origin, proxy, client = await self.behind()
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        await origin.request()
        origin.reply(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        origin.wire.close()
        self.assertEqual((await client.cut_response()).body, b"all of it")
        self.assertEqual((await proxy.log.record()).reason, b"ok")

    async def test_kept_connection_that_closed_is_not_used(self):
        origin, proxy, client = await self.behind()
        await self.exchange(client, origin)
        origin.wire.close()
        await self.until(lambda: not proxy.idle(), "the connection to be forgotten")
        await self.exchange(client, origin)
        self.assertEqual(proxy.log.reasons, [b"ok", b"ok"])


class MaterialTests(SecureScenario):
    def errors(self, tls):
        with self.assertRaises(ConfigErrors) as caught:
            build(loads(self.config("https://a", pool=f"tls = {{ {tls} }}")), reactor)
        return str(caught.exception)

    def test_what_can_not_be_read(self):
        ca = self.file("root.pem", ROOT.pem)
        self.assertIn(
            "pools.app.tls.ca: cannot be read: No such file", self.errors('ca = "/nowhere"')
        )
        self.assertIn(
            "pools.app.tls.key: cannot be read: not set",
            self.errors(f'cert = "{ca}", key = "env:TXRPROXY_NOT_SET"'),
        )

    def test_what_does_not_fit(self):
        ca = self.file("root.pem", ROOT.pem)
        key = self.file("other.key", OTHER.key_pem)
        self.assertIn(
            "pools.app.tls: the key does not belong to the certificate",
            self.errors(f'cert = "{ca}", key = "file:{key}"'),
        )
