"""Values of a wrong type or form: the exact words."""

from __future__ import annotations

import tomllib
from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import CONTRACT, MINIMAL, problems
from txrproxy.config import schema
from txrproxy.config.structure import structure
from txrproxy.config.toml import loads

WORDS = [
    (
        '[pools.b]\nbackends = ["http://a"]\ntimeouts = { connect = 2 }',
        ':11: pools.b.timeouts.connect: found 2 (a number), expected a duration such as "250ms", '
        '"2s", "5m"',
    ),
    (
        '[listeners.b]\nbind = ["127.0.0.1:81"]\nidle_timeout = "0s"',
        ':11: listeners.b.idle_timeout: found "0s" (zero is no time at all), expected a duration '
        'such as "250ms", "2s", "5m"',
    ),
    (
        '[listeners.b]\nbind = "127.0.0.1:81"',
        ':10: listeners.b.bind: found "127.0.0.1:81" (a string), expected a list',
    ),
    (
        '[pools.b]\nbackends = [\n  "http://a",\n  { url = "http://b", wieght = 2 },\n]',
        ':12: pools.b.backends[1].wieght: unknown key; did you mean "weight"?',
    ),
    (
        "[server]\nzzz = 1",
        ":10: server.zzz: unknown key; known: workers, cpu_affinity, worker_timeout, "
        "drain_timeout, drain_delay, max_connections, backlog, trusted_proxies, resolver, "
        "state_dir",
    ),
    (
        "[server]\nbacklog = true",
        ":10: server.backlog: found true (a boolean), expected an integer, 1 or more",
    ),
    (
        '[server]\nbacklog = "12"',
        ':10: server.backlog: found "12" (a string), expected an integer, 1 or more',
    ),
    (
        "[server]\nstate_dir = 2026-01-01",
        ":10: server.state_dir: found 2026-01-01 (a date or time), expected a path",
    ),
    (
        "[server]\nmax_connections = 0x" + "f" * 9000,
        ":10: server.max_connections: found a very large number, expected an integer, 1 or more",
    ),
    (
        '[server]\ntrusted_proxies = [\n"10.0.0.0/8",\n"10.0.0.1/8"]',
        ':12: server.trusted_proxies[1]: found "10.0.0.1/8" (host bits are set; the network is '
        '"10.0.0.0/8"), expected a network such as "10.0.0.0/8" or "2001:db8::/32"',
    ),
    (
        "[log]\naccess = 'off'",
        ':10: log.access: found "off" (a string), expected a table',
    ),
    (
        "[log.access]\nformat = 'jsn'",
        ':10: log.access.format: found "jsn", expected one of "json", "combined", "off"; '
        'did you mean "json"?',
    ),
    (
        "[log.access]\nformat = []",
        ':10: log.access.format: found a list, expected one of "json", "combined", "off"',
    ),
    (
        "[admin]\ntoken = 'hunter2'",
        ":10: admin.token: found a string that is not shown here, expected a reference such as "
        '"file:/run/secrets/token" or "env:TOKEN"',
    ),
    (
        "[policies.p]\nwaf = { paranoia = true }",
        ":10: policies.p.waf.paranoia: found true (a boolean), expected one of 1, 2, 3, 4",
    ),
    (
        "[policies.p.response_headers]\nset = { 'x y' = '1' }",
        ':10: policies.p.response_headers.set."x y": found "x y", expected a header name such as '
        '"x-frame-options"',
    ),
    (
        "[policies.p.response_headers]\nset = { x = 'a\\nb', y = \"a\\nb\" }",
        ':10: policies.p.response_headers.set.y: found "a\\nb" (it has control characters), '
        "expected a header value on one line",
    ),
    (
        "[[routes]]\nname = 'b'\npool = 'app'\nmatch = { client = 5 }",
        ':12: routes[1].match.client: found 5 (a number), expected a network such as "10.0.0.0/8" '
        'or "2001:db8::/32"',
    ),
    (
        "[[routes]]\nname = 'b'\npool = 'app'\nmatch = { host = [] }",
        ":12: routes[1].match.host: found an empty list, expected a value, or no such key to take "
        "any",
    ),
    (
        "[[routes]]\nname = 'b'\npool = 'app'\nmatch = { header = { a = [] } }",
        ":12: routes[1].match.header.a: found an empty list, expected a value, or no such key to "
        "take any",
    ),
    (
        "[[routes]]\nname = 'b'\npool = 'app'\nmatch = '/'",
        ':12: routes[1].match: found "/" (a string), expected a table',
    ),
    (
        "[[routes]]\nname = 'b'\npool = 'app'\nrewrite = { replace = ['x'] }",
        ":12: routes[1].rewrite.replace: found a list, expected a list of two strings: a pattern "
        "and its replacement",
    ),
    (
        "[[routes]]\nname = 'b'\nredirect = { to = '/x', status = 300 }",
        ":11: routes[1].redirect.status: found 300 (a number), expected one of 301, 302, 303, "
        "307, 308",
    ),
    (
        "[[routes]]\nname = 'b'\nrespond = { status = 99 }",
        ":11: routes[1].respond.status: found 99 (a number), expected a status from 200 to 599",
    ),
    (
        "[[routes]]\npool = 'app'",
        ':9: routes[1].name: missing; expected name = "static" (unique; appears in logs and '
        "metrics)",
    ),
    (
        "[[routes]]\nname = 'b'\nsplit = { app = 0 }",
        ":11: routes[1].split.app: found 0 (a number), expected an integer, 1 or more",
    ),
    (
        "[[routes]]\nname = 'b'\nresource = 'a.b'",
        ':11: routes[1].resource: found "a.b", expected a name such as "package.module:object"',
    ),
    (
        "[pools.b]\nbackends = ['http://a', 5]",
        ":10: pools.b.backends[1]: found 5 (a number), expected a URL or a table",
    ),
    (
        "[pools.b]\nbackends = ['http://u@a']",
        ':10: pools.b.backends[0].url: found "http://u@a" (a user name and password have no place '
        'in it), expected "http://host:port", "https://host:port" or "unix:/path"',
    ),
    (
        "[[tests]]\nrequest = { url = '/x' }\nexpect = {}",
        ':10: tests[0].request.url: found "/x", expected a URL with http:// or https://',
    ),
]


class Words(SynchronousTestCase):
    def test_one_problem_each(self) -> None:
        for text, expected in WORDS:
            found = problems(MINIMAL + text, available=False)
            self.assertEqual(found, [expected], text)

    def test_all_of_them_at_once(self) -> None:
        """Each wrong value is reported, whatever else is wrong."""
        routes = [(text, words) for text, words in WORDS if text.startswith("[[routes")]
        found = problems(MINIMAL + "\n".join(text for text, _ in routes))
        # All routes are named "b", too.
        wrong = [line.split(": ", 2)[2] for line in found if "another route" not in line]
        self.assertEqual(wrong, [words.split(": ", 2)[2] for _, words in routes])

    def test_not_even_tables(self) -> None:
        self.assertEqual(
            problems("version = 2\nlisteners = 1\npools = []\nroutes = {}\nserver = 'x'"),
            [
                ":1: version: found 2 (a number), expected 1",
                ":2: listeners: found 1 (a number), expected a table",
                ":3: pools: found a list, expected a table",
                ":4: routes: found a table, expected a list",
                ':5: server: found "x" (a string), expected a table',
            ],
        )

    def test_nothing_at_all(self) -> None:
        self.assertEqual(
            problems(""),
            [
                "version: missing; expected version = 1 (of this file's format)",
                "listeners: no listeners; expected at least one [listeners.NAME]",
                "routes: no routes; expected at least one [[routes]]",
            ],
        )


class Contract(SynchronousTestCase):
    def test_loads(self) -> None:
        config = loads(CONTRACT, available=False)
        self.assertEqual(list(config.pools), ["app", "next"])
        backend = config.pools[schema.Name("app")].backends[1]
        self.assertEqual((str(backend.url), backend.weight), ("http://10.0.0.2:8080", 2))
        self.assertEqual(
            [route.name for route in config.routes],
            ["static", "canary", "moved", "maintenance", "embedded"],
        )

    def test_shows_defaults(self) -> None:
        """What the contract writes where it has no example is the default."""
        config = loads(CONTRACT, available=False)
        self.assertEqual(config.server, schema.Server())
        self.assertEqual(config.log, schema.Log())
        pool = config.pools[schema.Name("app")]
        other = config.pools[schema.Name("next")]
        for key in ("balance", "hash_key", "slow_start", "resolve", "panic_threshold"):
            self.assertEqual(getattr(pool, key), getattr(other, key))
        for key in ("keepalive", "timeouts", "tls", "host"):
            self.assertEqual(getattr(pool, key), getattr(other, key))
        self.assertEqual(pool.outlier, schema.Outlier())
        self.assertEqual(pool.retry, schema.RetryRules())
        self.assertEqual(config.caches[schema.Name("main")], schema.Cache())
        listener = config.listeners[schema.Name("http")]
        self.assertEqual(listener, schema.Listener(bind=listener.bind))
        policy = config.policies[schema.Name("public")]
        for key in ("allow", "deny", "body_limit", "hide", "request_headers", "security_headers"):
            self.assertEqual(getattr(policy, key), getattr(schema.Policy(), key))

    def test_one_value_is_a_list_of_one(self) -> None:
        text = MINIMAL + (
            'match = { host = "A.example", path = "/*", method = "GET", client = "10.0.0.0/8", '
            'header = { a = "1", b = ["1", "2"] }, query = { q = "" } }'
        )
        self.assertEqual(
            loads(text).routes[0].match,
            schema.Match(
                host=(schema.HostPattern("a.example"),),
                path=(schema.PathPattern("/*"),),
                method=(schema.Method("GET"),),
                client=(ip_network("10.0.0.0/8"),),
                header={
                    schema.FieldName("a"): (schema.FieldValue("1"),),
                    schema.FieldName("b"): (schema.FieldValue("1"), schema.FieldValue("2")),
                },
                query={schema.Text("q"): ("",)},
            ),
        )

    def test_structure_leaves_the_tree_alone(self) -> None:
        tree = tomllib.loads(CONTRACT)
        structure(tree)
        self.assertEqual(tree, tomllib.loads(CONTRACT))
