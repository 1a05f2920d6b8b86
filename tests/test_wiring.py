from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txrproxy import wiring
from txrproxy.config import schema
from txrproxy.config.forms.addresses import backend_url
from txrproxy.config.forms.numbers import timeout
from txrproxy.http.forward import Changes
from txrproxy.names.lookup import Target
from txrproxy.routing.plan import Plan
from txrproxy.transport.deadlines import Deadlines
from txrproxy.transport.dial import LocalDialer, TcpDialer, UnixDialer


class WiringTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.wiring = wiring.Wiring(self.clock, Deadlines(self.clock), lambda path: f"/base/{path}")

    def pool(self, *urls, **options):
        backends = tuple(schema.Backend(url=backend_url(url)) for url in urls)
        return self.wiring.pool("app", schema.Pool(backends=backends, **options))

    def test_dialers(self):
        pool = self.pool("http://10.0.0.1:8080", "http://[::1]", "http://localhost", "unix:/s")
        kinds = [type(backend.connections.dial) for backend in pool.backends]
        self.assertEqual(kinds, [TcpDialer, TcpDialer, LocalDialer, UnixDialer])
        self.assertEqual((self.wiring.names, self.clock.getDelayedCalls()), ({}, []))

    def test_names(self):
        pool = self.pool("http://10.0.0.1:8080", "http://[::1]:80", "https://localhost", "unix:/s")
        self.assertEqual(
            [(backend.name, backend.authority) for backend in pool.backends],
            [
                (b"10.0.0.1:8080", b"10.0.0.1:8080"),
                (b"[::1]:80", b"[::1]"),
                (b"https://localhost:443", b"localhost"),
                (b"unix:/s", b"localhost"),
            ],
        )

    def test_attempts(self):
        self.assertEqual(self.pool("http://10.0.0.1").retry.attempts, 2)
        retry = schema.RetryRules(attempts=0)
        self.assertEqual(self.pool("http://10.0.0.1", retry=retry).retry.attempts, 0)

    def named(self, url, target, **options):
        """The backend that a pool makes of a target."""
        backend = schema.Backend(url=backend_url(url), weight=3, max_connections=7)
        self.wiring.pool("app", schema.Pool(backends=(backend,), **options))
        (entry,) = self.wiring.names["app"]._entries
        return entry, entry.make(target)

    def test_an_address_of_a_name(self):
        entry, made = self.named("http://app:8080", Target(4, bytes([10, 0, 0, 1]), 8080))
        self.assertEqual((made.name, made.authority), (b"10.0.0.1:8080", b"app:8080"))
        self.assertEqual((made.weight, made.max_connections, entry.weight), (3, 7, 3))
        self.assertEqual(type(made.connections.dial), TcpDialer)
        _, made = self.named("http://app", Target(6, bytes(15) + b"\1", 80))
        self.assertEqual((made.name, made.authority), (b"[::1]:80", b"app"))

    def test_tls_to_an_address_of_a_name(self):
        url, target = "https://app.example", Target(4, bytes([10, 0, 0, 1]), 443)
        _, made = self.named(url, target)
        self.assertEqual((made.name, made.authority), (b"https://10.0.0.1:443", b"app.example"))
        self.assertEqual(made.connections.dial._tls._name, "app.example")
        tls = schema.BackendTls(server_name="other")
        _, made = self.named(url, target, tls=tls)
        self.assertEqual(made.connections.dial._tls._name, "other")

    def test_a_target_of_srv_records(self):
        url = "https://_https._tcp.app.example"
        _, made = self.named(url, Target(4, bytes([10, 0, 0, 1]), 8443, "a.example"))
        self.assertEqual((made.name, made.authority), (b"https://10.0.0.1:8443", b"a.example:8443"))
        self.assertEqual(made.connections.dial._tls._name, "a.example")

    def test_members(self):
        pool = self.pool("http://10.0.0.1", "http://app")
        self.assertEqual([b.name for b in pool.backends], [b"10.0.0.1:80"])
        self.assertIs(self.wiring.names["app"].pool, pool)

    def test_a_host_name_of_the_pool_is_its_own(self):
        self.assertIn(b"app.internal", self.pool("http://10.0.0.1", host="app.internal").own)
        self.assertNotIn(b"preserve", self.pool("http://10.0.0.1").own)

    def test_deadlines(self):
        plan = Plan(name=b"", serve=lambda exchange: None, **self.rules())
        over = schema.RouteTimeouts(first_byte=timeout("5m"), queue=timeout("1s"))
        self.wiring.deadlines_of(plan, schema.PoolTimeouts(), over)
        self.assertEqual(plan.connect, 2)
        self.assertEqual(plan.first_byte.seconds, 300)
        self.assertEqual((plan.idle.seconds, plan.tunnel_idle.seconds), (60, 60))
        self.assertEqual(plan.queue.seconds, 1)

    def test_an_idle_tunnel_expires(self):
        expired = []
        plan = Plan(name=b"", serve=lambda exchange: None, **self.rules())
        self.wiring.deadlines_of(plan, schema.PoolTimeouts())

        class Tunnel:
            def expire(self):
                expired.append(self)

        tunnel = Tunnel()
        plan.tunnel_idle.start(tunnel, 0)
        self.clock.pump([1] * 62)
        self.assertEqual(expired, [tunnel])

    def rules(self, **options):
        return wiring.rules(Changes(), Changes(), (), **options)

    def test_host(self):
        for host, sent, backend in (
            (None, None, False),
            ("preserve", None, False),
            ("backend", None, True),
            ("app", b"app", False),
        ):
            for rules in ("rules", "trusted_rules"):
                made = self.rules(host=host)[rules]
                self.assertEqual((made.host, made.backend_host), (sent, backend))

    def test_trust(self):
        made = self.rules()
        self.assertEqual((made["rules"].trusted, made["trusted_rules"].trusted), (False, True))

    def test_close(self):
        pool = self.pool("http://10.0.0.1", "http://10.0.0.2")
        wiring.close([pool])
        self.assertTrue(all(backend.connections.closed for backend in pool.backends))
