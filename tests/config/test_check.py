"""What only the whole can tell: the exact words, each beside the least text that earns it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL, problems, with_route
from txrproxy.config.toml import loads_with_warnings

LISTENER = '[listeners.b]\nbind = ["127.0.0.1:1"]\n'
BACKENDS = 'backends = ["http://a"]\n'
ROUTE = 'name = "b"\npool = "app"\n'

ERRORS = [
    (
        '[admin]\nlisten = "0.0.0.0:9900"',
        ":9: admin: missing; expected token, as others can connect to 0.0.0.0:9900",
    ),
    (
        '[admin]\nlisten = "fd:admin"',
        ':10: admin.listen: found "fd:NAME", expected "host:port" or "unix:PATH"',
    ),
    (
        "[listeners.b]\nbind = []",
        ":10: listeners.b.bind: found an empty list, expected at least one address",
    ),
    (
        '[listeners.b]\nbind = ["[::1]:1", "127.0.0.1:8080"]',
        ':10: listeners.b.bind[1]: "127.0.0.1:8080" is bound already; first at :3',
    ),
    (
        LISTENER + 'max_head = "1023B"',
        ':11: listeners.b.max_head: less than any request needs, expected "1KiB" or more',
    ),
    (
        LISTENER + "tls = {}",
        ":11: listeners.b.tls: missing; expected certificates, or self_signed = true",
    ),
    (
        LISTENER + "protocols = []\ntls = { self_signed = true }",
        ":11: listeners.b.protocols: found an empty list, expected at least one protocol",
    ),
    (
        LISTENER + 'tls = { self_signed = true, client_auth = "required" }',
        ':11: listeners.b.tls.client_auth: found "required" without client_ca, the authorities to '
        "check against",
    ),
    (
        LISTENER + 'protocols = ["h2"]\ntls = { self_signed = true }',
        ':11: listeners.b.protocols: found "h2" alone, expected "http/1.1" as well: nothing else '
        "is answered yet",
    ),
    (
        '[caches.b]\n[caches.c]\npath = "./cache"',
        ':11: caches.c.path: "./cache" is the folder of another cache; first at :9',
    ),
    (
        "[pools.b]\nbackends = []",
        ":10: pools.b.backends: found an empty list, expected at least one backend",
    ),
    (
        '[pools.b]\nbackends = [{ url = "http://a", weight = 0 }]',
        ":10: pools.b.backends: every weight is 0: no backend would get a request",
    ),
    (
        "[pools.b]\n" + BACKENDS + 'tls = { cert = "c.pem" }',
        ":11: pools.b.tls.cert: found cert without key, expected both or neither",
    ),
    (
        "[pools.b]\n" + BACKENDS + 'tls = { key = "env:K" }',
        ":11: pools.b.tls.key: found key without cert, expected both or neither",
    ),
    (
        '[policies.p.request_headers]\nset = { Host = "x" }',
        ':10: policies.p.request_headers.set.Host: found "Host", which only the proxy itself sets',
    ),
    (
        '[policies.p.request_headers]\nremove = ["X-Forwarded-For"]',
        ':10: policies.p.request_headers.remove[0]: found "X-Forwarded-For", which only the proxy '
        "itself sets",
    ),
    (
        '[policies.p]\nhide = ["content-length"]',
        ':10: policies.p.hide[0]: found "content-length", which only the proxy itself sets',
    ),
    (
        '[policies.p.response_headers]\nadd = { Transfer-Encoding = "chunked" }',
        ':10: policies.p.response_headers.add.Transfer-Encoding: found "Transfer-Encoding", which '
        "only the proxy itself sets",
    ),
    (
        '[policies.p.response_headers]\nremove = ["x", "Content-Length"]',
        ':10: policies.p.response_headers.remove[1]: found "Content-Length", which only the proxy '
        "itself sets",
    ),
    (
        '[policies.p.response_headers.set]\nX-A = "1"\nx-a = "2"',
        ':11: policies.p.response_headers.set.x-a: "x-a" is the same header as "X-A": names '
        "ignore case; first at :10",
    ),
]

ROUTES = [
    (
        'name = "all"\npool = "app"',
        ':10: routes[1].name: "all" is the name of another route; first at :7',
    ),
    (
        'name = "b"',
        ":9: routes[1]: missing; expected exactly one of pool, split, redirect, respond, resource",
    ),
    (
        ROUTE + "respond = {}",
        ":9: routes[1]: found pool and respond, expected exactly one of them",
    ),
    (
        'name = "b"\npool = "apq"',
        ':11: routes[1].pool: unknown pool "apq"; did you mean "app"?',
    ),
    (
        'name = "b"\nsplit = { app = 1, zzz = 1 }',
        ':11: routes[1].split.zzz: unknown pool "zzz"; known: "app"',
    ),
    (
        ROUTE + 'use = ["p"]',
        ':12: routes[1].use[0]: unknown policy "p"; there are no policies',
    ),
    (
        ROUTE + 'cache = { store = "c" }',
        ':12: routes[1].cache.store: unknown cache "c"; there are no caches',
    ),
    (
        ROUTE + "match = { path_regex = '/(?=x)' }",
        ':12: routes[1].match.path_regex: found "/(?=x)", not a regular expression of RE2: '
        "invalid perl operator: (?=",
    ),
    (
        ROUTE + 'match = { header = { A = "1", a = "2" } }',
        ':12: routes[1].match.header.a: "a" is the same header as "A": names ignore case; '
        "first at :12",
    ),
    (
        ROUTE + 'rewrite = { strip_prefix = "api" }',
        ':12: routes[1].rewrite.strip_prefix: found "api", expected a path that begins with "/"',
    ),
    (
        ROUTE + 'rewrite = { prefix = "/a b" }',
        ':12: routes[1].rewrite.prefix: found "/a b", expected a path that begins with "/"',
    ),
    (
        ROUTE + 'rewrite = { replace = ["", "x"] }',
        ":12: routes[1].rewrite.replace: found a replacement for an empty pattern",
    ),
    (
        ROUTE + 'rewrite = { replace = ["(", "x"] }',
        ':12: routes[1].rewrite.replace[0]: found "(", not a regular expression of RE2: missing ): '
        "(",
    ),
    (
        ROUTE + 'rewrite = { replace = ["x", "y?z"] }',
        ':12: routes[1].rewrite.replace[1]: found "y?z", expected part of a path, without white '
        'space, query or "#"',
    ),
    (
        ROUTE + "rewrite = { replace = ['(x)', '\\1\\2'] }",
        ':12: routes[1].rewrite.replace[1]: found "\\\\1\\\\2", where \\2 is no group of the '
        "pattern",
    ),
    (
        ROUTE + "rewrite = { replace = ['(?P<n>x)', '\\g<n>\\g<m>\\g<1>\\\\'] }",
        ':12: routes[1].rewrite.replace[1]: found "\\\\g<n>\\\\g<m>\\\\g<1>\\\\\\\\", where \\g<m> '
        "is no group of the pattern",
    ),
    (
        ROUTE + "rewrite = { replace = ['x', 'a\\'] }",
        ':12: routes[1].rewrite.replace[1]: found "a\\\\", where \\ is no group of the pattern',
    ),
    (
        'name = "b"\nrespond = { status = 204, body = "x" }',
        ":11: routes[1].respond.body: 204 has no body",
    ),
    (
        'name = "b"\nrespond = { headers = { content-length = "1" } }',
        ':11: routes[1].respond.headers.content-length: found "content-length", which only the '
        "proxy itself sets",
    ),
]

TESTS = [
    ('route = "al"', 'route: unknown route "al"; did you mean "all"?'),
    ('pool = "x"', 'pool: unknown pool "x"; known: "app"'),
    ('policy = "x"', 'policy: unknown policy "x"; there are no policies'),
]

WARNINGS = [
    (
        LISTENER + 'proxy_protocol = "v2"',
        ":11: listeners.b.proxy_protocol: no connection will be accepted: server.trusted_proxies "
        "is empty",
    ),
    (
        LISTENER + '[listeners.b.tls]\nself_signed = true\nclient_ca = "ca.pem"',
        ':13: listeners.b.tls.client_ca: nobody is asked for a certificate: client_auth is "off"',
    ),
    (
        LISTENER + '[listeners.b.tls]\nself_signed = true\nclient_ca = "ca.pem"\n'
        'client_auth = "required"',
        ":2: listeners.http: serves all routes, and asks for no client certificate as "
        "listeners.b does; match.client_cert keeps a route to those who show one",
    ),
    (
        '[[routes]]\nname = "b"\nmatch = { path = "/x" }\npool = "app"',
        ':9: routes[1]: never matches: route "all" before it takes everything that it would; '
        "first at :6",
    ),
]


# Of a policy: its lines, and what is said of policies.p.
POLICIES = [
    (
        'forward_auth = { url = "http://a:b@c/" }',
        "forward_auth.url: a user name and password have no place in it",
    ),
    (
        'forward_auth = { url = "http://a/", to_client = ["Set-Cookie", "Content-Length"] }',
        'forward_auth.to_client[1]: found "Content-Length", which only the proxy itself sets',
    ),
    (
        'jwt = { keys = "https://a:b@c/", audience = "a" }',
        "jwt.keys: a user name and password have no place in it",
    ),
    (
        'geo = { files = [], allow = ["CH"] }',
        "geo.files: found an empty list, expected a database",
    ),
    (
        'geo = { files = ["a.mmdb"], allow = ["Switzerland"] }',
        'geo.allow[0]: found "Switzerland", expected a country such as "CH" (ISO 3166), an '
        'autonomous system such as "AS64500", or "unknown"',
    ),
    ("cors = { origins = [] }", "cors.origins: found an empty list, expected an origin"),
    (
        'cors = { origins = ["*"], credentials = true }',
        'cors.credentials: found true with the origin "*", expected origins by name: any page at '
        "all could act for whoever is logged in",
    ),
    (
        'jwt = { keys = "env:K", audience = "a", algorithms = [] }',
        "jwt.algorithms: found an empty list, expected an algorithm",
    ),
    (
        'jwt = { keys = "env:K", audience = "a", claims = { sub = "Host" } }',
        'jwt.claims.sub: found "Host", which only the proxy itself sets',
    ),
    (
        'basic_auth = { users = "env:U", user_field = "X-Forwarded-For" }',
        'basic_auth.user_field: found "X-Forwarded-For", which only the proxy itself sets',
    ),
    (
        'basic_auth = { users = "env:U" }\nrequest_headers = { set = { remote-user = "x" } }',
        'basic_auth.user_field: "Remote-User" is set by request_headers as well',
    ),
    (
        'forward_auth = { url = "http://a/", copy = ["Connection"] }',
        'forward_auth.copy[0]: found "Connection", which only the proxy itself sets',
    ),
    (
        'forward_auth = { url = "http://a/", send = ["Accept", "Content-Length"] }',
        'forward_auth.send[1]: found "Content-Length", which only the proxy itself sets',
    ),
    *(
        (
            f'forward_auth = {{ url = "http://a/", send = ["{name}"] }}',
            f'forward_auth.send[0]: found "{name}", which only the proxy itself sets',
        )
        for name in ("X-Forwarded-Uri", "X-Real-Ip", "Client-Cert", "X-Client-Cert-Subject")
    ),
]


class Errors(SynchronousTestCase):
    def test_words(self) -> None:
        for text, expected in ERRORS:
            found = problems(MINIMAL + text, available=False)
            self.assertEqual(found, [expected], text)

    def test_words_of_routes(self) -> None:
        for text, expected in ROUTES:
            found = problems(with_route(text), available=False)
            self.assertEqual(found, [expected], text)

    def test_words_of_policies(self) -> None:
        for text, expected in POLICIES:
            found = problems(f"{MINIMAL}[policies.p]\n{text}")
            self.assertEqual(
                [problem.split(" ", 1)[1] for problem in found], [f"policies.p.{expected}"]
            )

    def test_requests_of_tests(self) -> None:
        for key, expected in (
            ('listener = "htp"', 'listener: unknown listener "htp"; did you mean "http"?'),
            ('client = "10.0.0.0/8"', "client: a client has one address"),
        ):
            test = f'[[tests]]\nrequest = {{ url = "http://a/", {key} }}\nexpect = {{}}\n'
            found = problems(MINIMAL + test)
            self.assertEqual(found, [f":10: tests[0].request.{expected}"])

    def test_words_of_tests(self) -> None:
        for expect, expected in TESTS:
            text = (
                f'{MINIMAL}[[tests]]\nrequest = {{ url = "http://a/" }}\n[tests.expect]\n{expect}'
            )
            found = problems(text, available=False)
            self.assertEqual(found, [f":12: tests[0].expect.{expected}"])

    def test_one_port_zero_is_not_another(self) -> None:
        self.assertEqual(
            problems(MINIMAL + '[listeners.b]\nbind = ["127.0.0.1:0", "127.0.0.1:0"]'), []
        )

    def test_local_admin_needs_no_token(self) -> None:
        for listen in ("127.0.0.1:1", "unix:admin.sock"):
            text = f'{MINIMAL}[admin]\nlisten = "{listen}"'
            self.assertEqual(problems(text, available=False), [])
        text = f'{MINIMAL}[admin]\nlisten = "0.0.0.0:1"\ntoken = "env:T"'
        self.assertEqual(problems(text, available=False), [])

    def test_good_rewrites(self) -> None:
        for replace in ("['^/a(.*)', '/b\\1']", "['x', '']", "['(?P<n>a)', '\\g<n>\\0']"):
            text = with_route(f"{ROUTE}rewrite = {{ replace = {replace} }}")
            self.assertEqual(problems(text), [], replace)


class Warnings(SynchronousTestCase):
    def warnings(self, text: str) -> list[str]:
        return [str(warning) for warning in loads_with_warnings(text, "")[1]]

    def test_none(self) -> None:
        self.assertEqual(self.warnings(MINIMAL), [])

    def test_words(self) -> None:
        for text, expected in WARNINGS:
            self.assertEqual(self.warnings(MINIMAL + text), [expected], text)

    def test_places_of_nobody(self) -> None:
        text = MINIMAL + 'use = ["p"]\n[policies.p]\ngeo = { files = ["a.mmdb"] }'
        (warning,) = self.warnings(text)
        self.assertIn("policies.p.geo: without effect: allow and deny are empty", warning)

    def test_keys_without_effect(self) -> None:
        text = MINIMAL.replace('pool = "app"', "respond = {}\nrewrite = { prefix = '/x' }")
        self.assertEqual(
            self.warnings(text),
            [
                ":4: pools.app: no route uses this pool",
                ":9: routes[0].rewrite: without effect: the route has no pool",
            ],
        )
