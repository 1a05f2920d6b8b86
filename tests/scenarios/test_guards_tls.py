"""Servers that policies ask over https: by an authority of one's own, and by no other."""

from twisted.internet import reactor

from tests.scenarios.harness import EMPTY_OK, GET, ok
from tests.scenarios.test_guards_auth import CLAIMS, KEYS, bearer, get, token
from tests.scenarios.test_tls_backends import STRANGER, serving
from tests.scenarios.tls import ROOT, SERVER, SecureScenario
from txrproxy.config.build import build
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import loads


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
