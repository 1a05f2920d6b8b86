"""Servers that policies ask over https: by an authority of one's own, and by no other."""

from twisted.internet import reactor

from tests.scenarios.harness import EMPTY_OK, GET, ok
from tests.scenarios.test_guards import reloaded
from tests.scenarios.test_guards_auth import CLAIMS, KEYS, bearer, get, token
from tests.scenarios.test_tls_backends import STRANGER, serving
from tests.scenarios.tls import ROOT, SERVER, SecureScenario
from tests.tls.authority import authority
from txrproxy.config.build import build
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import loads

OTHER = authority("another root")


class AuthorityTests(SecureScenario):
    async def asking(self, policy, issued=SERVER, ca=True):
        """``LOGIN`` and ``CA`` stand in ``policy`` for a server with this certificate."""
        self.login = await self.secure_origin(serving(issued))
        self.backend = await self.origin("backend")
        trust = f', ca = "{self.file("root.pem", ROOT.pem)}"' if ca else ""
        policy = policy.replace("LOGIN", self.login.url).replace(", CA", trust)
        self.running = await self.proxy(self.backend, policy=policy)
        return await self.client(self.running)

    FORWARD = 'forward_auth = { url = "LOGIN/check", CA }'
    TOKENS = f'jwt = {{ keys = "LOGIN/jwks", {CLAIMS}, CA }}'

    async def test_forward_auth(self):
        client = await self.asking(self.FORWARD)
        client.send(GET)
        self.assertEqual((await self.login.request()).start, b"GET /check HTTP/1.1")
        self.login.reply(EMPTY_OK)
        await self.backend.request()
        self.backend.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_keys(self):
        client = await self.asking(self.TOKENS)
        client.send(get(bearer(token())))
        self.assertEqual((await self.login.request()).start, b"GET /jwks HTTP/1.1")
        self.login.reply(ok(KEYS.encode()))
        await self.backend.request()
        self.backend.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_another_authority_counts_after_a_reload(self):
        login = await self.secure_origin(serving(OTHER.issue("127.0.0.1", subject="login")))
        backend = await self.origin("backend")
        path = self.file("root.pem", ROOT.pem)
        policy = f'forward_auth = {{ url = "{login.url}/check", ca = "{path}" }}'
        text = self.config(backend.url, policy=policy)
        proxy = await self.proxy(toml=text)
        client = await self.client(proxy)
        self.assertEqual((await self.ask(client, GET)).status, 503)
        await login.accept()  # that one came to nothing
        self.file("root.pem", OTHER.pem)
        proxy.graph = reloaded(proxy.graph, text)
        client.send(GET)
        await login.request()
        login.reply(EMPTY_OK)
        await backend.request()
        backend.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_nobody_else_is_believed(self):
        for policy, request in ((self.FORWARD, GET), (self.TOKENS, get(bearer(token())))):
            for issued, ca in ((STRANGER, True), (SERVER, False)):
                client = await self.asking(policy, issued, ca)
                self.assertEqual((await self.ask(client, request)).status, 503)
                self.assertEqual(self.running.log.reasons, [b"auth_unavailable"])

    async def test_no_authority(self):
        text = self.config("http://127.0.0.1:1", policy=self.FORWARD.replace("LOGIN", "https://a"))
        text = text.replace(", CA", f', ca = "{self.file("ca.pem", b"nothing")}"')
        with self.assertRaisesRegex(ConfigErrors, r"policies\.rules\.forward_auth\.url: "):
            build(loads(text), reactor)
