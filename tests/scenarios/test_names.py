"""Names of backends, with a name server and origins on several addresses of loopback."""

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.names import dns

from tests.names.nameserver import Broken, Loopback
from tests.scenarios.harness import GET, Scenario, ok
from txrproxy.config.build import build
from txrproxy.config.toml import loads

NAME = "app.example"
RESOLVE = 'resolve = "50ms"'


class Answering(Protocol):
    """Answers every request with the address of its server."""

    def connectionMade(self):
        self.factory.wires.add(self)
        self._data = b""

    def connectionLost(self, reason):
        self.factory.wires.discard(self)

    def dataReceived(self, data):
        self._data += data
        while b"\r\n\r\n" in self._data:
            head, _, self._data = self._data.partition(b"\r\n\r\n")
            self.factory.heads.append(head)
            body = self.factory.address.encode()
            self.transport.write(ok(body))


class Server(Factory):
    noisy = False
    protocol = Answering

    def __init__(self, address, port=0):
        self.address = address
        self.wires = set()
        self.heads = []
        self.listening = reactor.listenTCP(port, self, interface=address)
        self.port = self.listening.getHost().port

    async def stop(self):
        await maybeDeferred(self.listening.stopListening)
        for wire in list(self.wires):
            wire.transport.abortConnection()


class NameCase(Scenario):
    def setUp(self):
        super().setUp()
        self.names = Loopback()
        self.names.start()
        self.zone = self.names.zone
        self.servers = []
        self.proxied = None
        # In reverse order: the proxy's ends are closed by the harness, which waits for all.
        self.addCleanup(self._stop)

    async def _stop(self):
        for proxy in self._proxies:
            proxy.graph.close()  # it would go on asking
        for server in self.servers:
            await server.stop()
        await self.names.stop()
        self.flushLoggedErrors(Broken)

    def server(self, address, port=0):
        self.servers.append(Server(address, port))
        return self.servers[-1]

    def three(self):
        """Origins on three addresses and one port."""
        first = self.server("127.0.0.1")
        return [first, *(self.server(f"127.0.0.{n}", first.port) for n in (2, 3))]

    async def named(self, *urls, pool=RESOLVE, **parts):
        """A proxy that has looked its names up once."""
        server = f'resolver = ["127.0.0.1:{self.names.port}"]'
        self.proxied = await self.proxy(*urls, pool=pool, server=server, **parts)
        self.proxied.graph.start()
        await self.proxied.graph.ready()
        return await self.client(self.proxied)

    def members(self):
        return [backend.name.decode() for backend in self.proxied.backends()]

    async def get(self, client):
        response = await self.ask(client, GET)
        self.assertEqual(response.status, 200)
        return response.body.decode()

    async def served_by(self, client, count=12):
        return {await self.get(client) for _ in range(count)}


class AddressTests(NameCase):
    async def test_all_addresses_are_backends(self):
        first, *_ = self.three()
        six = self.server("::1", first.port)
        self.zone.set(NAME, "127.0.0.2", "127.0.0.1", "::1")
        port = first.port
        client = await self.named(f"http://{NAME}:{port}", pool=f'{RESOLVE}\nhost = "backend"')
        self.assertEqual(
            self.members(), [f"127.0.0.1:{port}", f"127.0.0.2:{port}", f"[::1]:{port}"]
        )
        self.assertEqual(await self.served_by(client), {"127.0.0.1", "127.0.0.2", "::1"})
        self.assertIn(f"Host: {NAME}:{port}".encode(), six.heads[0])
        backends = {record.backend.decode() for record in self.proxied.log.records}
        self.assertEqual(backends, set(self.members()))

    async def test_requests_do_not_wait_for_a_look_up_that_hangs(self):
        first, *_ = self.three()
        self.zone.set(NAME, "127.0.0.1")
        client = await self.named(f"http://{NAME}:{first.port}")
        self.zone.silent.update({(NAME, dns.A), (NAME, dns.AAAA)})
        asked = len(self.zone.asked)
        await self.until(lambda: len(self.zone.asked) > asked, "a look-up that gets no answer")
        for _ in range(3):
            self.assertEqual(await self.get(client), "127.0.0.1")

    async def test_answers_change_under_traffic(self):
        first, *_ = self.three()
        self.zone.set(NAME, "127.0.0.1")
        client = await self.named(f"http://{NAME}:{first.port}")
        stays = self.proxied.backends()[0]
        for addresses in (["127.0.0.1", "127.0.0.2"], ["127.0.0.3", "127.0.0.1"], ["127.0.0.1"]):
            self.zone.set(NAME, *addresses)
            while len(seen := await self.served_by(client, 6)) != len(addresses) or seen != set(
                addresses
            ):
                pass  # every one of these requests is answered; trial bounds the wait
        self.assertEqual(set(self.proxied.log.reasons), {b"ok"})
        self.assertIs(self.proxied.backends()[0], stays)
        for gone in self.servers[1:]:
            await self.until(lambda gone=gone: not gone.wires, "idle connections to be closed")

    async def test_a_response_that_runs_outlives_its_address(self):
        origin = await self.origin()
        port = origin.address.partition(":")[2]
        other = self.server("127.0.0.2", int(port))
        self.zone.set(NAME, "127.0.0.1")
        client = await self.named(f"http://{NAME}:{port}")
        client.send(GET)
        await origin.request()
        (wire,) = origin.wires
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await client.up_to(b"ab")
        self.zone.set(NAME, "127.0.0.2")
        await self.until(lambda: self.members() == [f"127.0.0.2:{port}"], "the new address")
        self.assertEqual(await self.get(await self.client(self.proxied)), other.address)
        wire.send(b"cd")
        await client.up_to(b"cd")

    async def test_the_name_server_dies_and_returns(self):
        first, *_ = self.three()
        self.zone.set(NAME, "127.0.0.1", "127.0.0.2")
        client = await self.named(f"http://{NAME}:{first.port}")
        await self.names.stop()
        watch = self.proxied.graph.names["app"]._named[0].watch
        await self.until(lambda: watch._failures >= 2, "two failures")
        self.assertEqual(await self.served_by(client), {"127.0.0.1", "127.0.0.2"})
        self.zone.set(NAME, "127.0.0.3")
        self.names.start()
        while await self.get(client) != "127.0.0.3":
            pass
        self.assertEqual(set(self.proxied.log.reasons), {b"ok"})

    async def test_bad_answers_keep_the_last_good_one(self):
        first, *_ = self.three()
        self.zone.set(NAME, "127.0.0.1")
        client = await self.named(f"http://{NAME}:{first.port}")
        watch = self.proxied.graph.names["app"]._named[0].watch
        for spoil in (
            lambda: self.zone.records.pop(NAME),
            lambda: self.zone.set(NAME, dns.Record_TXT(b"x")),
            lambda: self.zone.broken.update({(NAME, dns.A), (NAME, dns.AAAA)}),
        ):
            spoil()
            await self.until(lambda: watch._failures, "a failure")
            self.assertEqual(await self.get(client), "127.0.0.1")
            self.zone.set(NAME, "127.0.0.1")
            self.zone.broken.clear()
            await self.until(lambda: not watch._failures, "an answer")

    async def test_no_address_at_the_start(self):
        server = self.server("127.0.0.1")
        client = await self.named(f"http://{NAME}:{server.port}")
        response = await self.ask(client, GET)
        self.assertEqual((response.status, self.proxied.log.reasons), (503, [b"no_backend"]))
        self.zone.set(NAME, "127.0.0.1")
        await self.until(self.members, "the address")
        self.assertEqual(await self.get(client), "127.0.0.1")

    async def test_beside_an_address(self):
        first, *_ = self.three()
        self.zone.set(NAME, "127.0.0.2")
        port = first.port
        client = await self.named(f"http://{NAME}:{port}", f"http://127.0.0.1:{port}")
        self.assertEqual(self.members(), [f"127.0.0.2:{port}", f"127.0.0.1:{port}"])
        self.assertEqual(await self.served_by(client), {"127.0.0.1", "127.0.0.2"})

    async def test_localhost_is_not_looked_up(self):
        server = self.server("::1")
        client = await self.named(f"http://localhost:{server.port}")
        self.assertEqual(await self.get(client), "::1")
        self.assertEqual((self.zone.asked, self.proxied.graph.names), ([], {}))


class ReloadTests(NameCase):
    def graph(self, pool, port, resolver):
        text = self.config(
            f"http://{NAME}:{port}",
            pool=pool,
            server=f'resolver = ["127.0.0.1:{resolver}"]',
        )
        old = self.proxied.graph
        return build(loads(text), reactor, old.log, old=old)

    async def test_reload(self):
        first, *_ = self.three()
        self.zone.set(NAME, "127.0.0.1", "127.0.0.2")
        await self.named(f"http://{NAME}:{first.port}")
        old = self.proxied.graph
        same = self.graph(RESOLVE, first.port, self.names.port)
        self.assertIs(same.names["app"], old.names["app"])
        same.discard(old)
        self.assertTrue(old.names["app"]._named[0].watch._call)
        # Nobody answers: the answers go over to the new graph.
        await self.names.stop()
        changed = self.graph(f'{RESOLVE}\nbalance = "random"', first.port, 9)
        members = changed.pools["app"].backends
        self.assertEqual([b.name for b in members], [b.name for b in old.pools["app"].backends])
        self.assertNotEqual(set(members), set(old.pools["app"].backends))
        await changed.find_names()
        changed.take_over(old)
        self.proxied.graph = changed
        client = await self.client(self.proxied)
        seen = await self.served_by(client, 30)
        self.assertLessEqual(seen, {"127.0.0.1", "127.0.0.2"})
        self.assertIsNone(old.names["app"]._named[0].watch._call)


class ServiceTests(NameCase):
    URL = "http://_http._tcp.app.example"

    def say(self, *services):
        records = [dns.Record_SRV(p, w, port, host.encode()) for p, w, port, host in services]
        self.zone.set("_http._tcp.app.example", *records)

    async def test_srv(self):
        one, two = self.server("127.0.0.1"), self.server("127.0.0.2")
        self.zone.set("one.example", "127.0.0.1")
        self.zone.set("two.example", "127.0.0.2")
        self.say((0, 3, one.port, "one.example"), (0, 1, two.port, "two.example"))
        client = await self.named(self.URL, pool=f'{RESOLVE}\nhost = "backend"')
        seen = [await self.get(client) for _ in range(8)]
        self.assertEqual((seen.count("127.0.0.1"), seen.count("127.0.0.2")), (6, 2))
        self.assertIn(f"Host: one.example:{one.port}".encode(), one.heads[0])
        self.say((0, 3, one.port, "one.example"), (1, 1, two.port, "two.example"))
        while await self.served_by(client, 4) != {"127.0.0.1"}:
            pass
        self.say((0, 1, two.port, "two.example"))
        while await self.served_by(client, 4) != {"127.0.0.2"}:
            pass
        self.assertEqual(set(self.proxied.log.reasons), {b"ok"})
