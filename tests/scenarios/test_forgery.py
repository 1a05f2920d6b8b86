"""Whatever the proxy tells a backend, it is the proxy that tells it: no client can.

Which fields those are is not written down here. A request that says nothing of itself goes through
everything that tells a backend something, and what arrives beside it is the list; to that come the
families of names that the code keeps for proxies. Each is then forged in every spelling, in every
place. A field that is added to what backends are told is thereby forged as well.
"""

import ast
import re
from pathlib import Path

from twisted.web.resource import Resource

import txrproxy
from tests.scenarios.harness import EMPTY_OK
from tests.scenarios.test_guards_auth import BCRYPT, CLAIMS, KEYS, basic, token
from tests.scenarios.test_tls_clients import ALICE, Clients, trusting
from txrproxy.http import forward
from txrproxy.http.fields import HOP_BY_HOP, fold

FORGED = b"forged-by-a-client"

# Names of the families that only proxies may say, beside those that this one does say.
FAMILIES = (
    b"X-Forwarded-Port",
    b"X-Forwarded-Prefix",
    b"X-Forwarded-Server",
    b"X-Forwarded-User",
    b"X-Forwarded-Anything",
    b"X-Client-Cert",
    b"X-Client-Cert-Anything",
    b"Proxy",
)
# A proxy that is trusted has its word in these, and of nothing else.
BELIEVED = (b"forwarded", b"via", b"x-real-ip", b"x-request-id", b"x-forwarded")
# What frames a message, or is the client's to say.
NOT_TOLD = HOP_BY_HOP | {b"host", b"content-length", b"cookie", b"max-forwards", b"trailer"}
COPY = 'copy = ["Remote-Groups", "X-Mail"]'
COPIED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nRemote-Groups: staff\r\nX-Mail: a@b\r\n\r\n"
# A name of a field where the source of the proxy writes one.
WRITTEN = re.compile(r"((?:[A-Z][A-Za-z0-9]*-)+[A-Z][A-Za-z0-9]*|Via|Forwarded)")


def spellings(name):
    """One name in the ways that some backend takes for it."""
    yield name
    yield name.lower()
    yield name.upper()
    for other in (b"_", b".", b"~", b"!"):
        yield name.replace(b"-", other)
    if b"-" in name:
        yield name.replace(b"-", b"_", 1)
        yield name.lower()[::-1].replace(b"-", b"_", 1)[::-1]


def is_believed(name):
    return name in BELIEVED or name.startswith(b"x-forwarded-")


class Showing(Resource):
    """Keeps the fields that a mounted resource gets to see."""

    isLeaf = True
    seen = None

    def render(self, request):
        Showing.seen = [
            (name, value)
            for name, values in request.requestHeaders.getAllRawHeaders()
            for value in values
        ]
        return b""


SHOWING = Showing()


class ForgeryTests(Clients):
    async def asking_everything(self, server=""):
        """A proxy with all that tells a backend something, and a client that passes everywhere."""
        self.auth = await self.origin("auth")
        self.backend = await self.origin("backend")
        users, keys = (
            self.file("users", f"alice:{BCRYPT}\n".encode()),
            self.file("keys", KEYS.encode()),
        )
        proxy = await self.secure_proxy(
            self.backend,
            tls=self.asks("required"),
            server=server,
            policy="\n".join(
                (
                    f'basic_auth = {{ realm = "staff", users = "file:{users}" }}',
                    f'jwt = {{ keys = "file:{keys}", token = "cookie:session", {CLAIMS} }}',
                    f'forward_auth = {{ url = "{self.auth.url}/", {COPY} }}',
                    'request_headers = { set = { x-tier = "edge" }, remove = ["x-debug"] }',
                )
            ),
            more="""
                [[routes]]
                name = "mounted"
                match = { path = "/mounted" }
                resource = "tests.scenarios.test_forgery:SHOWING"
                use = ["rules"]
            """,
        )
        return await self.secure(proxy, context=trusting(certificate=ALICE))

    async def ask(self, client, fields=(), method=b"GET", path=b"/", body=b"", copied=True):
        """What the backend is asked, for a request with these lines."""
        signed = token(roles=["reader"])
        lines = [b"Host: a.example", basic(), b"Cookie: session=" + signed, *fields]
        client.send(b"%b %b HTTP/1.1\r\n" % (method, path) + b"\r\n".join(lines) + b"\r\n\r\n")
        client.send(body)
        self.asked = await self.auth.request()
        self.auth.reply(COPIED if copied else EMPTY_OK)
        if path == b"/mounted":
            await client.response()
            return None
        seen = await self.backend.request()
        self.backend.reply(EMPTY_OK)
        await client.response()
        return seen

    def told(self, seen):
        """The fields that the proxy tells a backend, by their folded names."""
        found = {}
        for name, value in seen.fields:
            found.setdefault(fold(name.lower()), []).append(value)
        return {name: values for name, values in found.items() if name not in NOT_TOLD}

    def check(self, seen, name, expected, trusted=False):
        """Nothing of a client's has arrived under the name, and what the proxy says has."""
        trailers = b"".join(value for _, value in seen.trailers)
        believed = trusted and is_believed(name.lower())
        if not believed:
            self.assertNotIn(FORGED, seen.raw_head + trailers, name)
            # Each request has an id of its own.
            told = self.told(seen) | {b"x-request-id": expected[b"x-request-id"]}
            self.assertEqual(told, expected, name)

    async def names(self, client):
        """Every name, and what a backend is told when nobody forges anything."""
        told = self.told(await self.ask(client))
        names = [name.title() for name in told] + list(FAMILIES) + [b"X-Debug"]
        names += [name.title() for name in forward._PROXY_FIELDS if name not in told]
        return names, told

    async def test_the_list(self):
        """It is what it should be, and no name in the code is missing."""
        _, told = await self.names(await self.asking_everything())
        self.assertEqual(
            {name.decode() for name in told},
            {
                "via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
                "x-request-id", "x-client-cert-verify", "x-client-cert-subject",
                "x-client-cert-san", "x-client-cert-fingerprint", "x-client-cert-serial",
                "client-cert", "client-cert-chain",
                "remote-user", "x-user", "x-roles", "remote-groups", "x-mail", "x-tier",
            },
        )  # fmt: skip
        source = Path(txrproxy.__file__).parent
        for module in ("http/forward.py", "http/peer.py", "tls/identity.py", "forwarding.py"):
            for node in ast.walk(ast.parse((source / module).read_text())):
                text = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
                text = text.decode("latin-1") if isinstance(text, bytes) else text
                for line in text.split("\r\n") if isinstance(text, str) and len(text) < 200 else ():
                    found = WRITTEN.fullmatch(line.partition(": ")[0].strip())
                    if found and (": " in line or "-Cert" in line):
                        name = found[1].lower().encode()
                        self.assertTrue(name in told or name in NOT_TOLD, f"{module}: {name}")

    async def test_as_fields(self):
        """In the head: alone, twice, before and behind, and named as one of the hop."""
        client = await self.asking_everything()
        names, expected = await self.names(client)
        for name in names:
            for spelling in spellings(name):
                line = spelling + b": " + FORGED
                nominated = b"Connection: %b, %b" % (spelling, name)
                for fields in ([line], [line, name + b": " + FORGED], [nominated, line]):
                    seen = await self.ask(client, fields)
                    self.check(seen, name, expected)
                self.assertNotIn(FORGED, self.asked.raw_head, name)

    async def test_one_request_with_all(self):
        client = await self.asking_everything()
        names, expected = await self.names(client)
        every = [spelling + b": " + FORGED for name in names for spelling in spellings(name)]
        for start in range(0, len(every), 100):
            self.check(await self.ask(client, every[start : start + 100]), b"all", expected)

    async def test_where_the_proxy_says_nothing(self):
        """A field that is promised and not sent this time is not the client's to fill in."""
        client = await self.asking_everything()
        for name in (b"Remote-Groups", b"X-Mail"):
            for spelling in spellings(name):
                fields = [spelling + b": " + FORGED]
                seen = await self.ask(client, fields, copied=False)
                self.assertNotIn(FORGED, seen.raw_head)
                self.assertNotIn(name.lower(), self.told(seen))

    async def test_in_trailers(self):
        client = await self.asking_everything()
        names, expected = await self.names(client)
        fields = [b"Transfer-Encoding: chunked", b"Trailer: x"]
        for name in names:
            lines = b"".join(s + b": " + FORGED + b"\r\n" for s in spellings(name))
            body = b"1\r\nx\r\n0\r\n" + lines + b"X-Sum: 1\r\n\r\n"
            seen = await self.ask(client, fields, b"POST", body=body)
            self.assertEqual(seen.trailers, [(b"X-Sum", b"1")], name)
            self.check(seen, name, expected)

    async def test_to_a_mounted_resource(self):
        client = await self.asking_everything()
        names, _ = await self.names(client)
        for name in names:
            for spelling in spellings(name):
                await self.ask(client, [spelling + b": " + FORGED], path=b"/mounted")
                values = b" ".join(value for _, value in Showing.seen)
                self.assertNotIn(FORGED, values, name)
                self.assertIn(b"alice", values)

    async def test_by_a_proxy_that_is_trusted(self):
        """It is believed in what proxies say of requests: not of certificates, nor of users."""
        client = await self.asking_everything(server='trusted_proxies = ["127.0.0.1"]')
        names, expected = await self.names(client)
        for name in names:
            for spelling in spellings(name):
                seen = await self.ask(client, [spelling + b": " + FORGED])
                if spelling.lower() != name.lower():
                    # Another name that folds to it is nobody's word.
                    self.check(seen, name, expected)
                else:
                    self.check(seen, name, expected, trusted=True)

    async def test_over_a_connection_that_becomes_something_else(self):
        client = await self.asking_everything()
        names, expected = await self.names(client)
        every = [name + b": " + FORGED for name in names]
        lines = [b"Host: a.example", basic(), b"Cookie: session=" + token(roles=["reader"]), *every]
        lines += [b"Connection: upgrade", b"Upgrade: x"]
        client.send(b"GET / HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n")
        await self.auth.request()
        self.auth.reply(COPIED)
        seen = await self.backend.request()
        self.check(seen, b"all", expected)
        client.close()
        await self.backend.wire.ended()
