"""The proxy over TLS as ``openssl s_client`` and curl see it."""

import base64
import hashlib
import os
import shutil
import time

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.trial.unittest import SkipTest

from tests.scenarios.harness import ok
from tests.scenarios.tls import ALICE, CLIENTS, ROOT, SERVER, SecureScenario
from tests.scenarios.wire import PATIENCE
from tests.tls.authority import Issued
from tests.tls.responder import names_responder, respond

RSA = ROOT.issue("a.example", kind="RSA", subject="server rsa")


def _where(proxy):
    host, port = proxy.address
    return f"{host}:{port}"


class _Tool(ProcessProtocol):
    def __init__(self, typed):
        self.said = b""
        self.ended = Deferred()
        self._typed = typed

    def connectionMade(self):
        if self._typed:
            self.transport.write(self._typed)
        else:
            self.transport.closeStdin()

    def outReceived(self, data):
        self.said += data
        # s_client leaves when its input ends, which must not be before the answer is here.
        if b"\nserved" in self.said:
            self.transport.closeStdin()

    errReceived = outReceived

    def processExited(self, reason):
        self.transport.closeStdin()  # the end is told of when all pipes are closed

    def processEnded(self, reason):
        self.ended.callback(reason.value.exitCode)

    def give_up(self):
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass


class Tools(SecureScenario):
    tool = ""

    def setUp(self):
        super().setUp()
        self.path = shutil.which(self.tool)
        if self.path is None:
            raise SkipTest(f"{self.tool} is not installed")
        self.root = self.file("root.pem", ROOT.pem)

    async def run_tool(self, *arguments, typed=b""):
        """Run it; its exit status and all that it said."""
        tool = _Tool(typed)
        reactor.spawnProcess(tool, self.path, [self.tool, *map(str, arguments)], env=os.environ)
        timer = reactor.callLater(PATIENCE, tool.give_up)
        status = await tool.ended
        if timer.active():
            timer.cancel()
        return status, tool.said

    async def serving(self, **parts):
        """A proxy before an origin that answers every request."""
        origin = await self.origin()
        self.requests = []

        def prepare(wire):
            async def answer():
                while True:
                    await wire.until(lambda: wire.received or wire.over, "a request")
                    if not wire.received:
                        return
                    request = await wire.request()
                    self.requests.append(request)
                    body = request.body if request.method in (b"POST", b"PUT") else b"\nserved\n"
                    wire.send(ok(body))

            self.later(answer())

        origin.prepare = prepare
        return await self.secure_proxy(origin, **parts)


class SClientTests(Tools):
    tool = "openssl"
    REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"

    async def connect(self, proxy, *arguments, typed=REQUEST):
        return await self.run_tool(
            "s_client",
            *("-connect", _where(proxy), "-servername", "a.example"),
            *("-CAfile", self.root, "-verify_return_error", "-ign_eof"),
            *arguments,
            typed=typed,
        )

    async def served(self, proxy, *arguments):
        count = len(proxy.log.records)
        status, said = await self.connect(proxy, *arguments)
        self.assertEqual(status, 0, said)
        self.assertIn(b"HTTP/1.1 200", said)
        self.assertIn(b"Verification: OK", said)
        self.assertEqual((await proxy.log.record(count + 1)).reason, b"ok")
        return said

    async def refused(self, proxy, *arguments):
        count = len(proxy.log.records)
        status, said = await self.connect(proxy, *arguments)
        self.assertNotEqual(status, 0)
        self.assertNotIn(b"HTTP/1.1", said)
        self.assertEqual((await proxy.log.record(count + 1)).reason, b"client_tls_failed")
        return said

    async def test_versions(self):
        proxy = await self.serving()
        self.assertIn(b"TLSv1.2", await self.served(proxy, "-tls1_2"))
        self.assertIn(b"TLSv1.3", await self.served(proxy, "-tls1_3"))
        self.assertIn(b"TLSv1.3", await self.served(proxy))
        old = ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        self.assertIn(b"protocol version", await self.refused(proxy, *old))

    async def test_modern(self):
        proxy = await self.serving(tls='profile = "modern"')
        await self.served(proxy, "-tls1_3")
        await self.refused(proxy, "-tls1_2")

    async def test_groups(self):
        proxy = await self.serving()
        # Over TLS 1.2 the group of the certificate's own key has to be among them.
        for groups, shown in (
            ("X25519:P-256", b"X25519"),
            ("P-256", b"prime256v1"),
            ("P-384:P-256", b"secp384r1"),
        ):
            for version in ("-tls1_2", "-tls1_3"):
                said = await self.served(proxy, "-groups", groups, version)
                (key,) = [line for line in said.splitlines() if b"Server Temp Key" in line]
                self.assertIn(shown, key)
        await self.refused(proxy, "-groups", "P-521", "-tls1_3")

    async def test_ciphers(self):
        proxy = await self.serving(entries=(self.put(SERVER), self.put(RSA, "rsa")))
        for suite in (
            "TLS_AES_128_GCM_SHA256",
            "TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
        ):
            said = await self.served(proxy, "-tls1_3", "-ciphersuites", suite)
            self.assertIn(suite.encode(), said)
        for kind in ("ECDSA", "RSA"):
            for suffix in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"):
                cipher = f"ECDHE-{kind}-{suffix}"
                said = await self.served(proxy, "-tls1_2", "-cipher", cipher)
                self.assertIn(cipher.encode(), said)
        for cipher in ("ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"):
            await self.refused(proxy, "-tls1_2", "-cipher", cipher)

    async def test_alpn(self):
        proxy = await self.serving()
        said = await self.served(proxy, "-alpn", "h2,http/1.1")
        self.assertIn(b"ALPN protocol: http/1.1", said)
        self.assertIn(b"no application protocol", await self.refused(proxy, "-alpn", "h2"))

    async def test_resumption(self):
        proxy = await self.serving()
        for version in ("-tls1_2", "-tls1_3"):
            session = self.folder / f"session{version}"
            self.assertIn(b"New, ", await self.served(proxy, version, "-sess_out", session))
            said = await self.served(proxy, version, "-sess_in", session)
            self.assertIn(b"Reused, ", said)

    async def test_renegotiation_is_refused(self):
        proxy = await self.serving()
        for more in ((), ("-legacy_renegotiation",)):
            status, said = await self.run_tool(
                *("s_client", "-connect", _where(proxy), "-CAfile", self.root),
                *("-tls1_2", "-msg", *more),
                typed=b"R\n",
            )
            self.assertIn(b"RENEGOTIATING", said)
            self.assertIn(b"no_renegotiation", said)
            self.assertNotEqual(status, 0)
        self.assertEqual(self.requests, [])

    async def test_stapled_response(self):
        """A responder on loopback is asked when the listener starts; its answer is stapled."""
        responder = await self.origin("responder")
        leaf = ROOT.issue(
            "a.example", subject="stapled", extensions=(names_responder(responder.url),)
        )
        leaf = Issued(leaf.certificate, leaf.key, (ROOT.certificate,))  # the issuer is known
        proxy = await self.serving(entries=(self.put(leaf),))
        self.assertIn(b"no response sent", await self.served(proxy, "-status"))
        proxy.graph.start()
        question = await responder.request()
        self.assertEqual(question.method, b"POST")
        answer = respond(leaf, ROOT, time.time())
        responder.reply(ok(answer, b"Content-Type: application/ocsp-response"))
        stapler = proxy.graph.tls["http"]._stapler
        await self.until(lambda: stapler.staple(self.serves(proxy)), "the response")
        for version in ("-tls1_2", "-tls1_3"):
            said = await self.served(proxy, "-status", version)
            self.assertIn(b"OCSP Response Status: successful", said)
            self.assertIn(b"Cert Status: good", said)

    @staticmethod
    def serves(proxy):
        """The certificate of a proxy that has one."""
        return proxy.graph.tls["http"].contexts.store.certificates[0]

    async def test_client_certificate(self):
        ca = self.file("clients.pem", CLIENTS.pem)
        proxy = await self.serving(tls=f'client_auth = "required", client_ca = "{ca}"')
        source = ALICE.write(self.folder, "alice")
        said = await self.served(proxy, "-cert", source.cert, "-key", source.key.name)
        self.assertIn(b"Acceptable client certificate CA names", said)
        self.assertIn(b"scenario clients", said)
        self.assertEqual(proxy.log.records[0].client_cert, b"CN=alice")


class CurlTests(Tools):
    tool = "curl"

    async def curl(self, proxy, *arguments, host="a.example", typed=b""):
        port = proxy.address[1]
        return await self.run_tool(
            *("-sS", "--max-time", "20", "--noproxy", "*", "--cacert", self.root),
            *("--resolve", f"{host}:{port}:127.0.0.1"),
            *arguments,
            f"https://{host}:{port}/",
            typed=typed,
        )

    async def test_get(self):
        proxy = await self.serving()
        for version in ("--tls-max", "1.2"), ("--tlsv1.3",):
            status, said = await self.curl(proxy, "-i", *version)
            self.assertEqual(status, 0, said)
            self.assertTrue(said.startswith(b"HTTP/1.1 200"), said)
            self.assertTrue(said.endswith(b"\nserved\n"), said)
        self.assertEqual(self.requests[-1].get(b"x-forwarded-proto"), b"https")

    async def test_post_and_put(self):
        proxy = await self.serving()
        body = os.urandom(3_000_000)
        sent, got = self.file("sent", body), self.folder / "got"
        chunked = ("-H", "Transfer-Encoding: chunked")
        for arguments in (
            ("--data-binary", f"@{sent}"),
            ("--data-binary", f"@{sent}", *chunked),
            ("-T", sent),
        ):
            status, said = await self.curl(proxy, "-o", got, *arguments)
            self.assertEqual(status, 0, said)
            self.assertEqual(got.read_bytes(), body)

    async def test_names_that_are_not_in_the_certificate(self):
        proxy = await self.serving()
        status, _ = await self.curl(proxy, host="other.test")
        self.assertEqual(status, 60)
        self.assertEqual(self.requests, [])

    async def test_address(self):
        proxy = await self.serving()
        status, said = await self.curl(proxy, host="127.0.0.1")
        self.assertEqual(status, 0, said)


class BrowserTests(Tools):
    """Chromium, headless. It believes the certificate by the hash of its key, and nothing else."""

    tool = "chromium"

    async def test_page(self):
        proxy = await self.serving()
        key = SERVER.certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        trusted = base64.b64encode(hashlib.sha256(key).digest()).decode()
        status, said = await self.run_tool(
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--disable-background-networking", "--no-first-run", "--disable-sync"),
            *("--no-proxy-server", f"--user-data-dir={self.folder / 'browser'}"),
            f"--host-resolver-rules=MAP a.example {_where(proxy)}, MAP * ~NOTFOUND",
            f"--ignore-certificate-errors-spki-list={trusted}",
            *("--dump-dom", "https://a.example/page"),
        )
        self.assertEqual(status, 0, said)
        self.assertIn(b"served", said)
        page = next(one for one in self.requests if one.target == b"/page")
        self.assertEqual(page.get(b"x-forwarded-proto"), b"https")
