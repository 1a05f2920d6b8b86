import ipaddress

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.names.nameserver import Broken, Loopback
from txrproxy.names.question import Unanswered
from txrproxy.names.resolver import SRV, A, Resolver, has_route


class ResolverCase:
    def resolver(self, *servers, resolv_conf="", hosts=""):
        paths = []
        for text in (resolv_conf, hosts):
            paths.append(self.mktemp())
            with open(paths[-1], "w") as file:
                file.write(text)
        return Resolver(reactor, servers, *paths)

    def loopback(self):
        loopback = Loopback()
        loopback.start()
        self.addCleanup(loopback.stop)
        return loopback


class CandidateTests(ResolverCase, SynchronousTestCase):
    def candidates(self, name, resolv_conf):
        return list(self.resolver(resolv_conf=resolv_conf).candidates(name))

    def test_search(self):
        text = "search b.example c.example\noptions ndots:2"
        self.assertEqual(self.candidates("a", text), ["a.b.example", "a.c.example", "a"])
        self.assertEqual(self.candidates("a.b", text)[-1], "a.b")
        self.assertEqual(self.candidates("a.b.c", text)[0], "a.b.c")
        self.assertEqual(self.candidates("a.", text), ["a"])
        self.assertEqual(self.candidates("a", ""), ["a"])

    def test_too_long(self):
        name = ".".join(["a" * 61] * 4)
        self.assertEqual(self.candidates(name, "search b.example"), [name])

    def test_hosts(self):
        resolver = self.resolver(hosts="10.0.0.1 app")
        self.assertEqual(resolver.hosts("App."), (ipaddress.ip_address("10.0.0.1"),))
        self.assertEqual(resolver.hosts("other"), ())

    def test_routes(self):
        self.assertTrue(has_route(ipaddress.ip_address("127.0.0.1")))
        self.assertFalse(has_route(ipaddress.ip_address("fe80::1")))


class RecordTests(ResolverCase, TestCase):
    timeout = 60

    def setUp(self):
        self.server = self.loopback()
        self.zone = self.server.zone
        self.here = ("127.0.0.1", self.server.port)

    async def ask(self, resolver, name="app.example", kind=A):
        records = await resolver.records(name, kind)
        await deferLater(reactor, 0)
        return records and [record.dottedQuad() for record in records]

    async def test_records(self):
        resolver = self.resolver(self.here)
        self.zone.set("app.example", "10.0.0.1", "::1")
        self.zone.set("alias.example", dns.Record_CNAME(b"App.example"))
        self.assertEqual(await self.ask(resolver), ["10.0.0.1"])
        self.assertEqual(await self.ask(resolver, "ALIAS.example"), ["10.0.0.1"])
        self.assertEqual(await resolver.records("app.example", SRV), [])
        self.assertIsNone(await resolver.records("nobody.example", A))

    async def test_too_long_for_a_datagram(self):
        self.zone.set("app.example", *[f"10.0.{n // 256}.{n % 256}" for n in range(600)])
        resolver = self.resolver(self.here)
        self.assertEqual(len(await self.ask(resolver)), 600)
        self.assertEqual(self.server.streams, 1)

    async def test_the_next_server_is_asked(self):
        other = self.loopback()
        self.zone.broken.add(("app.example", A))
        other.zone.set("app.example", "10.0.0.2")
        resolver = self.resolver(self.here, ("127.0.0.1", other.port))
        self.assertEqual(await self.ask(resolver), ["10.0.0.2"])
        self.assertEqual(len(self.flushLoggedErrors(Broken)), 1)
        await self.server.stop()
        self.assertEqual(await self.ask(resolver), ["10.0.0.2"])

    async def test_no_server_answers(self):
        self.zone.broken.add(("app.example", A))
        resolver = self.resolver(self.here, resolv_conf="options attempts:3")
        with self.assertRaises(Unanswered) as caught:
            await self.ask(resolver)
        self.assertEqual(str(caught.exception), "name server 127.0.0.1 answers SERVFAIL")
        self.assertEqual(len(self.zone.asked), 3)
        self.assertEqual(len(self.flushLoggedErrors(Broken)), 3)

    async def test_servers_of_the_machine(self):
        resolver = self.resolver(resolv_conf="nameserver 127.0.0.77\noptions attempts:1 timeout:1")
        with self.assertRaises(Unanswered) as caught:
            await self.ask(resolver)
        self.assertIn("127.0.0.77:53", str(caught.exception))

    async def test_foreign_records_do_not_count(self):
        """A record of another name in the answer is no answer."""
        self.zone.set("app.example", dns.Record_CNAME(b"a.example"))
        self.zone.set("a.example", dns.Record_CNAME(b"a.example"))
        self.assertEqual(await self.ask(self.resolver(self.here)), [])
