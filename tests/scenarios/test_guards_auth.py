"""Who may pass by password, by the word of another server, and by token; and what can be forged."""

import base64
import hashlib
import hmac
import json
import os
import time
from pathlib import Path

import bcrypt
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web.resource import Resource

from tests.scenarios.harness import EMPTY_OK, GET, Refusing, Scenario, ok
from tests.scenarios.test_guards import from_client, get, reloaded
from txrproxy.cache import policy as caching_policy
from txrproxy.caching import outcome
from txrproxy.config.policies import Policies
from txrproxy.config.problems import ConfigErrors
from txrproxy.guards import passwords

BCRYPT = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
APR1 = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"  # of the same


def basic(name=b"alice", password=b"secret"):
    return b"Authorization: Basic " + base64.b64encode(name + b":" + password)


class Base(Scenario):
    def folder(self):
        if not hasattr(self, "_folder"):
            self._folder = Path(self.mktemp()).absolute()
            self._folder.mkdir()
        return self._folder

    def file(self, name, text):
        path = self.folder() / name
        path.write_text(text)
        return path

    def held_threads(self):
        """Whatever goes to a thread waits until the test lets it."""
        calls = []

        def in_thread(function, *args):
            waiting = Deferred()
            calls.append(lambda: maybeDeferred(function, *args).chainDeferred(waiting))
            return waiting

        self.patch(Policies, "_in_thread", lambda _, function: in_thread(function))
        return calls


class BasicTests(Base):
    def policy(self, text=None, more=""):
        users = self.file("users", text or f"# staff\nalice:{BCRYPT}\nbob:{APR1}\n")
        return f'basic_auth = {{ realm = "the \\"staff\\"", users = "file:{users}"{more} }}'

    async def test_challenge(self):
        origin, proxy, client = await self.pair(policy=self.policy())
        for fields in (
            (),
            (basic(password=b"wrong"),),
            (basic(b"nobody"),),
            (b"Authorization: Basic !!!",),
            (b"Authorization: Bearer x",),
            (basic(), basic()),
            (basic(b"alice", b"secret\n"),),
            (basic(b"", b"secret"),),
        ):
            response = await self.ask(client, get(*fields))
            self.assertEqual(response.status, 401, fields)
            self.assertEqual(
                response.get(b"WWW-Authenticate"), b'Basic realm="the \\"staff\\"", charset="UTF-8"'
            )
        self.assertEqual(set(proxy.log.reasons), {b"unauthorized"})
        self.assertEqual([record.notes for record in proxy.log.records], [{}] * 8)
        self.assertEqual(origin.wires, [])

    async def test_good(self):
        origin, proxy, client = await self.pair(policy=self.policy())
        for number, name in enumerate((b"alice", b"bob", b"bob"), 1):
            seen, response = await self.exchange(client, origin, get(basic(name)))
            self.assertEqual((await proxy.log.record(number)).notes, {b"user": name})
            self.assertEqual(response.status, 200)
            self.assertEqual(seen.get(b"Remote-User"), name)
            self.assertEqual(seen.all(b"Authorization"), [])

    async def test_a_changed_file_counts_after_a_reload(self):
        text = self.config("http://127.0.0.1:1", policy=self.policy())
        text = text.replace('pool = "app"', "respond = { status = 200 }")
        proxy = await self.proxy(toml=text)
        client = await self.client(proxy)
        for users, status in (
            (f"alice:{BCRYPT}\nbob:{APR1}\n", 200),
            (f"bob:{APR1}\n", 401),
            (f"alice:{BCRYPT}\n", 200),
        ):
            self.file("users", users)
            proxy.graph = reloaded(proxy.graph, text)
            self.assertEqual((await self.ask(client, get(basic()))).status, status)
            live = proxy.graph.policies.parts
            proxy.graph = reloaded(proxy.graph, text)
            self.assertEqual(proxy.graph.policies.parts, live)  # what did not change goes on

    async def test_forward_and_field(self):
        policy = self.policy(more=', forward = true, user_field = "X-Who"')
        origin, _, client = await self.pair(policy=policy)
        seen, _ = await self.exchange(client, origin, get(basic()))
        self.assertEqual(seen.get(b"X-Who"), b"alice")
        self.assertEqual(seen.get(b"Authorization"), basic().partition(b": ")[2])

    async def test_forgery(self):
        origin, _, client = await self.pair(policy=self.policy())
        forged = (
            b"Remote-User: root",
            b"remote_user: root",
            b"REMOTE.USER: root",
            b"Connection: remote-user",
        )
        seen, _ = await self.exchange(client, origin, get(basic(), *forged))
        self.assertEqual(seen.get(b"Remote-User"), b"alice")
        self.assertNotIn(b"root", seen.raw_head)
        client.send(
            get(basic(), b"Transfer-Encoding: chunked", method=b"POST")
            + b"0\r\nRemote-User: root\r\nremote_user: root\r\n\r\n"
        )
        seen = await origin.request()
        origin.reply(EMPTY_OK)
        await client.response()
        self.assertEqual(seen.trailers, [])

    async def test_once_right_it_is_remembered(self):
        calls = self.held_threads()
        origin, _, client = await self.pair(policy=self.policy())
        client.send(get(basic()))
        await self.until(lambda: calls, "a check")
        calls.pop()()
        await origin.request()
        origin.reply(EMPTY_OK)
        await client.response()
        await self.exchange(client, origin, get(basic()))
        self.assertEqual(calls, [])

    async def test_a_body_waits(self):
        calls = self.held_threads()
        origin, _, client = await self.pair(policy=self.policy())
        body = os.urandom(3_000_000)
        client.send(get(basic(), b"Content-Length: %d" % len(body), method=b"POST") + body)
        await self.until(lambda: calls, "a check")
        await self.turns()
        self.assertTrue(client.blocked)  # the proxy does not take it all
        calls.pop()()
        seen = await origin.request()
        self.assertEqual(seen.digest, hashlib.sha256(body).digest())
        origin.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_too_many_checks(self):
        calls = self.held_threads()
        origin, proxy, _ = await self.pair(policy=self.policy())
        clients = [await self.client(proxy) for _ in range(passwords.OF_ONE_CLIENT + 1)]
        for number, client in enumerate(clients):
            client.send(get(basic(password=b"%d" % number)))
        await proxy.log.record()
        self.assertEqual(proxy.log.records[0].reason, b"auth_busy")
        self.assertEqual(proxy.log.records[0].status, 503)
        self.assertEqual(len(calls), passwords.AT_ONCE)
        while calls:
            calls.pop()()
        await proxy.log.record(len(clients))
        self.assertEqual(proxy.log.reasons.count(b"unauthorized"), passwords.OF_ONE_CLIENT)

    async def test_a_network_of_ipv6_is_one_client(self):
        calls = self.held_threads()
        trusted = 'trusted_proxies = ["127.0.0.1"]'
        _origin, proxy, _ = await self.pair(policy=self.policy(), server=trusted)
        for number in range(passwords.OF_ONE_CLIENT + 1):
            client = await self.client(proxy)
            client.send(from_client(b"2001:db8::%x" % number, basic(password=b"%d" % number)))
        await proxy.log.record()
        self.assertEqual(proxy.log.records[0].reason, b"auth_busy")
        while calls:
            calls.pop()()
        await proxy.log.record(passwords.OF_ONE_CLIENT + 1)

    async def test_a_client_that_leaves_is_not_waited_for(self):
        calls = self.held_threads()
        origin, proxy, _ = await self.pair(policy=self.policy())
        clients = [await self.client(proxy) for _ in range(4)]
        for number, client in enumerate(clients):
            client.send(get(basic(password=b"%d" % number)))
        await self.until(lambda: len(calls) == 2, "checks")
        for client in clients:
            client.transport.abortConnection()
        await proxy.log.record(4)
        while calls:
            calls.pop()()
        self.assertEqual(set(proxy.log.reasons), {b"client_aborted"})
        # The two in line were not checked, and everybody's place is free again.
        client = await self.client(proxy)
        client.send(get(basic()))
        await self.until(lambda: calls, "a check")
        calls.pop()()
        await origin.request()
        origin.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_the_file_changes(self):
        policy = self.policy()
        origin, proxy, client = await self.pair(policy=policy, timed=True)
        proxy.graph.start()
        users = self.folder() / "users"
        await self.exchange(client, origin, get(basic()))
        for text, status in (
            (f"alice:{APR1}x\n", 200),  # nothing to use: the old one stays
            (f"bob:{BCRYPT}\n", 401),
            (f"alice:{APR1}\n", 200),
        ):
            users.write_text(text)
            watched = proxy.graph.policies.parts["rules", "basic_auth"].running[0]
            seen = watched._seen
            proxy.wait(10)
            await self.until(lambda w=watched, s=seen: w._seen != s, "a look at the file")
            client.send(get(basic()))
            if status == 200:
                await origin.request()
                origin.reply(EMPTY_OK)
            self.assertEqual((await client.response()).status, status, text)
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    async def test_nothing_to_use(self):
        for text, why in (
            ("alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1"),
            ("alice:secret", "not a hash"),
            ("alice", "expected NAME:HASH"),
            ("\n", "no users"),
        ):
            with self.assertRaisesRegex(ConfigErrors, why) as caught:
                await self.proxy("http://127.0.0.1:1", policy=self.policy(text))
            self.assertIn("policies.rules.basic_auth.users", str(caught.exception))
            self.assertNotIn("secret", str(caught.exception))

    async def test_a_mounted_resource_is_told(self):
        policy = self.policy()
        toml = self.config("http://127.0.0.1:1", policy=policy).replace(
            "[[routes]]",
            '[[routes]]\nname = "r"\nmatch = { path = "/r" }\nuse = ["rules"]\n'
            'resource = "tests.scenarios.test_guards_auth:WHO"\n[[routes]]',
            1,
        )
        client = await self.client(await self.proxy(toml=toml))
        request = get(
            basic(),
            b"Remote-User: root",
            b"Content-Length: 5",
            method=b"POST",
            path=b"/r",
        )
        response = await self.ask(client, request + b"hello")
        self.assertEqual(response.body, b"['alice'] b'hello'")


class _Who(Resource):
    isLeaf = True

    def render(self, request):
        user = request.requestHeaders.getRawHeaders("Remote-User")
        return f"{user} {request.content.read()}".encode()


WHO = _Who()


class ForwardTests(Base):
    async def three(self, more="", **parts):
        self.auth = await self.origin("auth")
        self.backend = await self.origin("backend")
        policy = f'forward_auth = {{ url = "{self.auth.url}/check?a=1"{more} }}'
        self.running = await self.proxy(self.backend, policy=policy, **parts)
        return await self.client(self.running)

    async def test_asked(self):
        client = await self.three()
        client.send(
            get(
                b"Cookie: a=1",
                b"Authorization: Bearer x",
                b"X-Forwarded-For: 192.0.2.1",
                b"X-Forwarded-Uri: /admin",
                b"X-Other: 1",
                b"Content-Length: 5",
                method=b"POST",
                path=b"/p/%41?q=1",
            )
            + b"hello"
        )
        asked = await self.auth.request()
        self.assertEqual(asked.start, b"GET /check?a=1 HTTP/1.1")
        self.assertEqual(asked.get(b"Host"), self.auth.address.encode())
        self.assertEqual(asked.get(b"X-Forwarded-Method"), b"POST")
        self.assertEqual(asked.get(b"X-Forwarded-Uri"), b"/p/%41?q=1")
        self.assertEqual(asked.get(b"X-Forwarded-Host"), b"a.example")
        self.assertEqual(asked.get(b"X-Forwarded-Proto"), b"http")
        self.assertEqual(asked.get(b"X-Forwarded-For"), b"127.0.0.1")
        self.assertEqual(asked.get(b"Cookie"), b"a=1")
        self.assertEqual(asked.get(b"Authorization"), b"Bearer x")
        self.assertEqual(asked.all(b"X-Other") + asked.all(b"Content-Length"), [])
        await self.turns()
        self.assertEqual(self.backend.wires, [])
        self.auth.reply(ok(b"fine"))
        seen = await self.backend.request()
        self.assertEqual((seen.method, seen.body), (b"POST", b"hello"))
        self.assertEqual(seen.get(b"X-Request-Id"), asked.get(b"X-Request-Id"))
        self.backend.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_what_the_client_gets_of_an_answer(self):
        client = await self.three(', to_client = ["Set-Cookie"]')
        for reply, own in ((ok(b"x", b"Set-Cookie: app=1"), [b"app=1"]), (b"nonsense\r\n\r\n", [])):
            client.send(GET)
            await self.auth.request()
            renewed = (b"Set-Cookie: a=2; Path=/", b"Set-Cookie: b=1; Domain=127.0.0.1")
            self.auth.reply(ok(b"", *renewed, b"X-Other: 2"))
            seen = await self.backend.request()
            self.assertEqual(seen.all(b"Set-Cookie"), [])
            self.backend.reply(reply)
            response = await client.response()
            self.assertEqual(response.status, 200 if own else 502)
            expected = [*own, b"a=2; Path=/", b"b=1; Domain=a.example"]
            self.assertEqual(response.all(b"Set-Cookie"), expected)
            self.assertEqual(response.all(b"X-Other"), [])

    async def test_the_log_has_the_user(self):
        for more, expected in (("", b"alice"), (', user_field = "X-Who"', b"a b"), ("", None)):
            client = await self.three(more)
            client.send(get(b"Remote-User: root", b"X-Who: root"))
            await self.auth.request()
            names = b"Remote-User: alice\r\nx-who: a b\r\n" if expected else b""
            self.auth.reply(b"HTTP/1.1 200 OK\r\n%bContent-Length: 0\r\n\r\n" % names)
            await self.backend.request()
            self.backend.reply(EMPTY_OK)
            self.assertEqual((await client.response()).status, 200)
            record = await self.running.log.record()
            self.assertEqual(record.notes, {b"user": expected} if expected else {})

    async def test_copied_fields_can_not_be_forged(self):
        client = await self.three(', copy = ["Remote-User", "X_Group"]')
        forged = get(
            b"Remote-User: root",
            b"remote_user: root",
            b"X-Group: root",
            b"x_group: root",
            b"X.Group: root",
        )
        for answer, user, group in (
            (ok(b"", b"Remote-User: alice", b"X_Group: staff"), b"alice", b"staff"),
            (EMPTY_OK, None, None),
        ):
            client.send(forged)
            await self.auth.request()
            self.auth.reply(answer)
            seen = await self.backend.request()
            self.assertEqual(seen.get(b"Remote-User"), user)
            self.assertEqual(seen.get(b"X_Group"), group)
            self.assertNotIn(b"root", seen.raw_head)
            self.backend.reply(EMPTY_OK)
            await client.response()
        self.assertEqual(len(self.auth.wires), 1)  # its connection is kept

    async def test_refusals_go_to_the_client(self):
        client = await self.three()
        for status in (401, 403, 302, 404, 429):
            client.send(GET)
            await self.auth.request()
            self.auth.reply(
                b"HTTP/1.1 %d X\r\nServer: secret\r\nConnection: x-hop\r\nX-Hop: 1\r\n"
                b"Location: %b/login\r\nSet-Cookie: a=1\r\nContent-Length: 4\r\n\r\nnope"
                % (status, self.auth.url.encode())
            )
            response = await client.response()
            self.assertEqual((response.status, response.body), (status, b"nope"))
            self.assertEqual(response.get(b"Set-Cookie"), b"a=1")
            self.assertEqual(response.get(b"Location"), b"http://a.example/login")
            self.assertEqual(response.all(b"Server") + response.all(b"X-Hop"), [])
        self.assertEqual(set(self.running.log.reasons), {b"auth_denied"})
        self.assertEqual(self.backend.wires, [])

    async def test_fails_closed(self):
        client = await self.three()
        for answer in (
            b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
            None,
            b"HTTP/1.1 304 X\r\n\r\n",
            b"HTTP/1.1 403 X\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000,
            b"nonsense\r\n\r\n",
        ):
            client.send(GET)
            await self.auth.request()
            if answer is None:
                self.auth.wire.transport.abortConnection()
                await self.auth.request()  # it was kept: asked once more on a fresh connection
                self.auth.wire.transport.abortConnection()
            else:
                self.auth.reply(answer)
            response = await client.response()
            self.assertEqual(response.status, 503, answer)
            self.assertNotIn(b"127.0.0.1", response.raw_head + response.body)
        self.assertEqual(set(self.running.log.reasons), {b"auth_unavailable"})
        self.assertEqual(self.backend.wires, [])

    async def test_refused(self):
        refusing = Refusing()
        self.addCleanup(refusing.close)
        policy = f'forward_auth = {{ url = "{refusing.url}/" }}'
        proxy = await self.proxy("http://127.0.0.1:1", policy=policy)
        response = await self.ask(await self.client(proxy), GET)
        self.assertEqual(response.status, 503)
        self.assertEqual(proxy.log.reasons, [b"auth_unavailable"])

    async def test_too_slow(self):
        client = await self.three(', timeout = "2s"', timed=True)
        client.send(GET)
        await self.auth.request()
        self.running.wait(3)
        self.assertEqual((await client.response()).status, 503)
        await self.auth.wire.ended()

    async def test_a_client_that_leaves(self):
        client = await self.three()
        client.send(GET)
        await self.auth.request()
        client.transport.abortConnection()
        await self.auth.wire.ended()
        await self.running.log.record()
        self.assertEqual(self.running.log.reasons, [b"client_aborted"])


RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def public(key, kid, **more):
    makers = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    maker = next(maker for kind, maker in makers.items() if isinstance(key, kind))
    return {**maker.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **more}


def token(key=RSA, algorithm="RS256", kid="rsa", headers=(), **claims):
    claims = {
        "exp": time.time() + 300,
        "aud": "api",
        "iss": "https://login",
        "sub": "alice",
        **claims,
    }
    return jwt.encode(claims, key, algorithm, {"kid": kid, **dict(headers)}).encode()


def hmac_signed(secret):
    """Signed with what everybody knows."""
    header, payload = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in (
            {"alg": "HS256", "kid": "rsa"},
            {"exp": time.time() + 300, "aud": "api", "iss": "https://login", "sub": "root"},
        )
    )
    signed = header + b"." + payload
    mac = hmac.digest(secret, signed, "sha256")
    return signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")


def bearer(value):
    return b"Authorization: Bearer " + value


KEYS = json.dumps({"keys": [public(RSA, "rsa"), public(EC, "ec"), public(ED, "ed")]})
CLAIMS = (
    'audience = "api", issuer = "https://login", claims = { sub = "X-User", roles = "X-Roles" }'
)


class JwtTests(Base):
    def policy(self, more=""):
        keys = self.file("keys", KEYS)
        return f'jwt = {{ keys = "file:{keys}", {CLAIMS}{more} }}'

    async def test_good(self):
        origin, proxy, client = await self.pair(policy=self.policy())
        for signed in (
            token(),
            token(EC, "ES256", "ec"),
            token(ED, "EdDSA", "ed", roles=["a", "b,c"]),
        ):
            for _ in range(2):  # the second time it is remembered
                forged = (b"X-User: root", b"x_user: root", b"X-Roles: root")
                seen, response = await self.exchange(client, origin, get(bearer(signed), *forged))
                self.assertEqual(response.status, 200)
                self.assertEqual(seen.get(b"X-User"), b"alice")
                self.assertNotIn(b"root", seen.raw_head)
        self.assertEqual(seen.get(b"X-Roles"), b"a,b%2Cc")
        self.assertEqual([r.notes for r in proxy.log.records], [{b"user": b"alice"}] * 6)

    async def test_refused(self):
        _, proxy, client = await self.pair(policy=self.policy())
        for fields, told in (
            ((), b'Bearer realm="restricted"'),
            ((bearer(token(exp=time.time() - 100)),), b"expired"),
            ((bearer(token(aud="other")),), b"audience"),
            ((bearer(token(iss="other")),), b"issuer"),
            ((bearer(token(kid="other")),), b"not known"),
            ((bearer(token(RSA, "RS384")),), b"algorithm"),
            ((bearer(hmac_signed(KEYS.encode())),), b"algorithm"),
            ((bearer(token(None, "none")),), b"algorithm"),
            ((bearer(token(rsa.generate_private_key(65537, 2048))),), b"signature"),
            ((bearer(b"a.b"),), b"malformed"),
            ((bearer(token()), bearer(token())), b"more than one"),
        ):
            response = await self.ask(client, get(*fields))
            self.assertEqual(response.status, 401, fields)
            self.assertIn(told, response.get(b"WWW-Authenticate"))
        self.assertEqual(set(proxy.log.reasons), {b"unauthorized"})

    async def test_not_required(self):
        origin, _, client = await self.pair(policy=self.policy(", required = false"))
        seen, _ = await self.exchange(client, origin, get(b"X-User: root"))
        self.assertEqual(seen.get(b"X-User"), None)
        response = await self.ask(client, get(bearer(token(aud="other"))))
        self.assertEqual(response.status, 401)

    async def test_of_a_cookie(self):
        origin, _, client = await self.pair(policy=self.policy(', token = "cookie:t"'))
        seen, _ = await self.exchange(client, origin, get(b"Cookie: a=1; t=" + token()))
        self.assertEqual(seen.get(b"X-User"), b"alice")
        self.assertEqual((await self.ask(client, get(bearer(token())))).status, 401)

    async def test_for_a_cache_it_is_as_good_as_credentials(self):
        """RFC 9111 section 3.5, though there is no Authorization field."""
        judged = []

        def storable(request, demand, *more):
            judged.append((demand.authorized, caching_policy.storable(request, demand, *more)))
            return judged[-1][1]

        self.patch(outcome, "storable", storable)
        more = f'[caches.main]\npath = "{self.folder() / "cache"}"\n'
        policy = self.policy(', required = false, token = "cookie:t"')
        origin, _, client = await self.pair(
            policy=policy, more=more, route='cache = { store = "main" }'
        )
        for request, cache_control, authorized, stored in (
            (get(b"Cookie: t=" + token()), b"max-age=60", True, False),
            (get(b"Cookie: t=" + token(), path=b"/2"), b"public, max-age=60", True, True),
            (get(path=b"/3"), b"max-age=60", False, True),
        ):
            reply = ok(b"x", b"Cache-Control: " + cache_control)
            await self.exchange(client, origin, request, reply)
            self.assertEqual((judged[-1][0], bool(judged[-1][1])), (authorized, stored))

    async def fetched(self, **parts):
        self.login = await self.origin("login")
        self.backend = await self.origin("backend")
        policy = f'jwt = {{ keys = "{self.login.url}/jwks", {CLAIMS} }}'
        self.running = await self.proxy(self.backend, policy=policy, **parts)
        return await self.client(self.running)

    async def test_keys_of_a_url(self):
        client = await self.fetched(timed=True)
        client.send(get(bearer(token())))
        asked = await self.login.request()
        self.assertEqual(asked.start, b"GET /jwks HTTP/1.1")
        self.login.reply(ok(json.dumps({"keys": [public(RSA, "rsa")]}).encode()))
        await self.backend.request()
        self.backend.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)
        # A new key is asked for when it turns up, but not at anybody's pleasure.
        signed = get(bearer(token(EC, "ES256", "ec")))
        self.assertEqual((await self.ask(client, signed)).status, 401)
        self.running.wait(10)
        client.send(signed)
        await self.login.request()
        self.login.reply(ok(KEYS.encode()))
        await self.backend.request()
        self.backend.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_the_last_good_keys_stay(self):
        client = await self.fetched(timed=True)
        self.running.graph.start()
        await self.login.request()
        self.login.reply(ok(KEYS.encode()))
        self.running.wait(1)
        for pause, reply in (
            (300, b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"),
            (10, ok(b"nonsense")),
            (10, ok(b"x" * 2_000_000)),
        ):
            keys = self.running.graph.policies.parts["rules", "jwt"].running[0]
            await self.until(lambda keys=keys: keys._call is not None, "the end of the fetch")
            self.running.wait(pause)
            await self.login.request()
            self.login.reply(reply)
        client = await self.client(self.running)
        seen, response = await self.exchange(client, self.backend, get(bearer(token())))
        self.assertEqual(response.status, 200)

    async def test_a_url_that_fails_is_logged_once(self):
        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        await self.fetched(timed=True)
        self.running.graph.start()
        keys = self.running.graph.policies.parts["rules", "jwt"].running[0]
        broken = b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"
        for reply, pause in (
            (broken, 10),
            (broken, 10),
            (ok(b"nonsense"), 10),
            (ok(KEYS.encode()), 300),
            (broken, 0),
        ):
            await self.login.request()
            self.login.reply(reply)
            await self.until(lambda: keys._request is None, "the end of the fetch")
            self.running.wait(pause)
        said = [formatEvent(event) for event in events]
        url = f"{self.login.url}/jwks"
        self.assertEqual(
            [line for line in said if url in line],
            [
                f"no keys from {url}: status 500; tokens are refused",
                f"no keys from {url}: not JSON; tokens are refused",
                f"{url} has keys again",
                f"no keys from {url}: status 500; those of before still count",
            ],
        )

    async def test_without_keys_nobody_passes(self):
        client = await self.fetched()
        client.send(get(bearer(token())))
        await self.login.request()
        self.login.reply(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual((await client.response()).status, 503)
        self.assertEqual((await self.ask(client, get(bearer(token())))).status, 503)
        self.assertEqual(self.running.log.reasons, [b"auth_unavailable"] * 2)
