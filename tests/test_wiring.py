from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txrproxy import wiring
from txrproxy.config import schema
from txrproxy.config.forms import backend_url, timeout
from txrproxy.http.forward import Changes
from txrproxy.routing.plan import Plan
from txrproxy.transport.deadlines import Deadlines
from txrproxy.transport.dial import NameDialer, TcpDialer, UnixDialer


class WiringTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.wiring = wiring.Wiring(self.clock, Deadlines(self.clock), lambda path: f"/base/{path}")

    def pool(self, *urls, **options):
        backends = tuple(schema.Backend(url=backend_url(url)) for url in urls)
        return self.wiring.pool("app", schema.Pool(backends=backends, **options))

    def test_dialers(self):
        pool = self.pool("http://10.0.0.1:8080", "http://[::1]", "http://app", "unix:/s")
        kinds = [type(backend.connections.dial) for backend in pool.backends]
        self.assertEqual(kinds, [TcpDialer, TcpDialer, NameDialer, UnixDialer])

    def test_names(self):
        pool = self.pool("http://10.0.0.1:8080", "http://[::1]:80", "https://app", "unix:/s")
        self.assertEqual(
            [(backend.name, backend.authority) for backend in pool.backends],
            [
                (b"10.0.0.1:8080", b"10.0.0.1:8080"),
                (b"[::1]:80", b"[::1]"),
                (b"https://app:443", b"app"),
                (b"unix:/s", b"localhost"),
            ],
        )

    def test_attempts(self):
        self.assertEqual(self.pool("http://a").retry.attempts, 2)
        retry = schema.RetryRules(attempts=0)
        self.assertEqual(self.pool("http://a", retry=retry).retry.attempts, 0)

    def test_a_host_name_of_the_pool_is_its_own(self):
        self.assertIn(b"app.internal", self.pool("http://a", host="app.internal").own)
        self.assertNotIn(b"preserve", self.pool("http://a").own)

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
        pool = self.pool("http://a", "http://b")
        wiring.close([pool])
        self.assertTrue(all(backend.connections.closed for backend in pool.backends))
