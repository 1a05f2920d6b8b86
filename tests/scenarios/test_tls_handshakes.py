"""Handshakes that fail, stall or never were: a record each, no traceback, nothing left behind."""

import socket

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from tests.scenarios.harness import GET
from tests.scenarios.test_tls_backends import serving
from tests.scenarios.tls import (
    CLIENTS,
    MALLORY,
    ROOT,
    SERVER,
    SecureScenario,
    SecureWire,
    trusting,
)

LATE = CLIENTS.issue("late", subject="late", days=-1, client=True)


def flight(context=None, name=b"a.example"):
    """A client's first flight."""
    tls = SSL.Connection(context or trusting(), None)
    tls.set_connect_state()
    tls.set_tlsext_host_name(name)
    try:
        tls.do_handshake()
    except SSL.WantReadError:
        pass
    return tls.bio_read(1 << 16)


class Dribbling(SecureWire):
    """Sends its second flight but for the last bytes."""

    flights = 0

    def _flush(self):
        self.flights += 1
        if self.flights == 1:
            super()._flush()
        elif self.flights == 2:
            self.transport.write(self.tls.bio_read(1 << 16)[:-5])


class Handshakes(SecureScenario):
    def setUp(self):
        super().setUp()
        self.events = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def said(self):
        """What the error log is told, at the level of an operator."""
        return [
            formatEvent(event)
            for event in self.events
            if event.get("log_namespace", "").startswith("txrproxy")
            and event["log_level"] >= LogLevel.info
        ]

    async def gone(self, proxy):
        await self.until(lambda: not proxy.graph.busy, "the connection to be gone")
        self.assertNotIn("Traceback", "".join(self.said()))
        self.assertEqual([e for e in self.events if e.get("log_failure")], [])


class GarbageTests(Handshakes):
    async def refused(self, data, reason=b"client_tls_failed"):
        proxy = await self.secure_proxy("http://127.0.0.1:9")
        client = await self.client(proxy)
        client.send(data)
        record = await proxy.log.record()
        self.assertEqual(record.reason, reason)
        self.assertEqual((record.client, record.status), (b"127.0.0.1", 0))
        await client.ended()
        await self.gone(proxy)
        self.assertEqual(len(proxy.log.records), 1)
        (said,) = self.said()
        self.assertIn("listener http, 127.0.0.1", said)
        self.events.clear()
        return said

    async def test_garbage(self):
        hello = flight()
        for data in (
            bytes(100),
            b"\xff" * 100,
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"\x16\x03\x01\xff\xff" + bytes(100),  # a record longer than any
            b"\x16\x03\x01\x00\x00" * 40,
            b"\x17\x03\x03\x00\x10" + bytes(16),  # data before a handshake
            b"\x15\x03\x01\x00\x02\x02\x28",  # an alert
            b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",  # a server's hello
            b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16380),  # one of 16 MiB
            hello[:60] + bytes(len(hello) - 60),
            b"\x80\x2e\x01\x00\x02" + bytes(41),  # SSL 2
        ):
            await self.refused(data)

    async def test_old_versions(self):
        hello = bytearray(flight(trusting(version="1.2")))
        hello[9:11] = b"\x03\x02"  # TLS 1.1
        self.assertIn("protocol", await self.refused(bytes(hello)))

    async def test_hanging_up_is_nothing_to_log(self):
        hello = flight()
        for data in (b"", hello[:3], hello[:-1], hello):
            for reset in (False, True):
                proxy = await self.secure_proxy("http://127.0.0.1:9")
                client = await self.client(proxy)
                client.send(data)
                await self.until(lambda p=proxy: p.graph.busy, "the connection")
                await self.turns(3)
                if reset:
                    client.reset()
                else:
                    client.close()
                await self.gone(proxy)
                self.assertEqual(proxy.log.records, [])
                self.assertEqual(self.said(), [])

    async def test_others_are_served_meanwhile(self):
        origin = await self.origin()
        proxy = await self.secure_proxy(origin)
        good = await self.secure(proxy)
        for _ in range(20):
            bad = await self.client(proxy)
            bad.send(b"NONSENSE")
            await self.exchange(good, origin)
            await bad.ended()
        self.assertEqual(sorted(proxy.log.reasons), [b"client_tls_failed"] * 20 + [b"ok"] * 20)


class PlainTests(Handshakes):
    async def told(self, *pieces, finish=True):
        proxy = await self.secure_proxy("http://127.0.0.1:9")
        client = await self.client(proxy)
        for piece in pieces:
            client.send(piece)
            await self.turns(3)
        response = await client.response()
        self.assertEqual(response.status, 400)
        self.assertEqual(response.get(b"connection"), b"close")
        self.assertIn(b"https://", response.body)
        await client.ended()
        if finish:
            client.close()
        record = await proxy.log.record()
        self.assertEqual((record.reason, record.status), (b"plain_http", 400))
        await self.gone(proxy)
        (said,) = self.said()
        self.assertIn("listener http, 127.0.0.1: plain HTTP", said)
        self.events.clear()

    async def test_requests(self):
        for request in (
            GET,
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\n\r\n",
        ):
            await self.told(request)

    async def test_in_pieces(self):
        await self.told(b"G", b"E", b"T", b" ")

    async def test_answer_arrives_while_the_request_still_does(self):
        await self.told(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", *[bytes(200_000)] * 5)

    async def test_client_that_does_not_leave(self):
        proxy = await self.secure_proxy("http://127.0.0.1:9", timed=True)
        client = await self.client(proxy)
        client.send(GET)
        self.assertEqual((await client.response()).status, 400)
        self.assertEqual(proxy.graph.busy, 1)
        proxy.wait(12)
        await self.gone(proxy)
        self.assertEqual(proxy.log.reasons, [b"plain_http"])

    async def test_client_that_resets(self):
        proxy = await self.secure_proxy("http://127.0.0.1:9")
        client = await self.client(proxy)
        client.send(GET)
        await client.response()
        client.reset()
        await self.gone(proxy)
        self.assertEqual(proxy.log.reasons, [b"plain_http"])

    async def test_drain_ends_it(self):
        proxy = await self.secure_proxy("http://127.0.0.1:9")
        client = await self.client(proxy)
        client.send(GET)
        await client.response()
        proxy.graph.drain()
        await self.gone(proxy)


class LogTests(Handshakes):
    """The error log says why, for whom, and not more often than anyone reads."""

    async def reason(self, proxy, name=b"a.example", **how):
        client = await self.begin(proxy, name, **how)
        await client.refused()
        await client.ended()
        await self.gone(proxy)
        (said,) = self.said()
        self.events.clear()
        return said

    async def test_why_a_name_is_refused(self):
        proxy = await self.secure_proxy("http://127.0.0.1:9", tls="strict_sni = true")
        self.assertEqual(
            await self.reason(proxy, b"other.example"),
            "TLS handshake failed: listener http, 127.0.0.1 for other.example: unrecognized name",
        )
        self.assertEqual(
            await self.reason(proxy, None),
            "TLS handshake failed: listener http, 127.0.0.1: unrecognized name",
        )

    async def test_name_is_in_the_access_log(self):
        proxy = await self.secure_proxy("http://127.0.0.1:9", tls="strict_sni = true")
        await self.reason(proxy, b"other.example")
        await self.reason(proxy, None)
        self.assertEqual(
            [record.way for record in proxy.log.records],
            [(b"http", b"https", b"", b"other.example"), (b"http", b"https", b"", b"")],
        )

    async def test_why_a_client_certificate_is_refused(self):
        ca = self.file("clients.pem", CLIENTS.pem)
        asks = f'client_auth = "optional", client_ca = "{ca}"'
        for version in ("1.2", "1.3"):
            for certificate, why in (
                (MALLORY, "self-signed certificate in certificate chain"),
                (LATE, "certificate has expired"),
            ):
                proxy = await self.secure_proxy("http://127.0.0.1:9", tls=asks)
                context = trusting(version=version, certificate=certificate)
                self.assertEqual(
                    await self.reason(proxy, context=context),
                    "TLS handshake failed: listener http, 127.0.0.1 for a.example: "
                    f"client certificate not verified: {why}",
                )

    async def test_why_a_version_is_refused(self):
        proxy = await self.secure_proxy(
            "http://127.0.0.1:9", entries=(self.put(SERVER) + ', min_version = "1.3"',)
        )
        said = await self.reason(proxy, context=trusting(version="1.2"))
        self.assertIn("unsupported protocol", said)
        second = ROOT.issue("second.example")
        proxy = await self.secure_proxy(
            "http://127.0.0.1:9",
            entries=(self.put(SERVER), self.put(second, "b") + ', min_version = "1.3"'),
        )
        said = await self.reason(proxy, b"second.example", context=trusting(version="1.2"))
        self.assertIn("for second.example: protocol version", said)

    async def test_backend_is_logged_once_and_as_such(self):
        origin = await self.origin()  # speaks no TLS
        url = origin.url.replace("http:", "https:")
        origin.prepare = lambda wire: setattr(
            wire, "connectionMade", lambda: wire.send(b"no TLS here at all")
        )
        proxy = await self.proxy(url)
        client = await self.client(proxy)
        self.assertEqual((await self.ask(client, GET)).status, 502)
        expected = f"TLS handshake failed: backend {url}, 127.0.0.1: wrong version number"
        told = [line for line in self.said() if not line.startswith("Pool app: backend")]
        self.assertEqual(told, [expected] * len(origin.wires))

    async def test_backend_that_refuses_us_when_we_are_done(self):
        # In TLS 1.3 it has not seen our certificate, or that there is none, before.
        origin = await self.secure_origin(serving(SERVER, asks=True, version=SSL.TLS1_3_VERSION))
        ca = self.file("root.pem", ROOT.pem)
        proxy = await self.proxy(origin, pool=f'tls = {{ ca = "{ca}" }}')
        client = await self.client(proxy)
        self.assertEqual((await self.ask(client, GET)).status, 502)
        told = [line for line in self.said() if not line.startswith("Pool app: backend")]
        for line in told:
            self.assertIn(f"TLS handshake failed: backend {origin.url}, 127.0.0.1: ", line)
            self.assertIn("certificate required", line)
        self.assertEqual(len(told), len(origin.wires))
        self.assertTrue(told)

    async def test_flood(self):
        proxy = await self.secure_proxy("http://127.0.0.1:9", timed=True)
        for _ in range(30):
            client = await self.client(proxy)
            client.send(b"NONSENSE")
            await client.ended()
            proxy.wait(0.25)
        await self.gone(proxy)
        self.assertEqual(len(self.said()), 5)
        self.events.clear()
        proxy.wait(12)
        (said,) = self.said()
        self.assertIn("25 more in the last 10 s", said)
        self.assertEqual(len(proxy.log.records), 30)


class StallTests(Handshakes):
    async def expires(self, proxy, client):
        """The connection ends at the deadline and not before."""
        proxy.wait(9)
        await self.turns()
        self.assertFalse(client.over)
        proxy.wait(2)
        await client.ended()
        record = await proxy.log.record()
        self.assertEqual(record.reason, b"client_tls_timeout")
        self.assertGreater(record.total, 9)
        await self.gone(proxy)
        (said,) = self.said()
        self.assertIn("127.0.0.1", said)

    async def stalling(self, data):
        proxy = await self.secure_proxy("http://127.0.0.1:9", timed=True)
        client = await self.client(proxy)
        client.send(data)
        await self.until(lambda: proxy.graph.busy, "the connection")
        await self.turns()
        await self.expires(proxy, client)

    async def test_before_the_first_byte(self):
        await self.stalling(b"")

    async def test_in_the_first_record(self):
        await self.stalling(flight()[:4])

    async def test_in_the_first_flight(self):
        await self.stalling(flight()[:-1])

    async def test_after_the_servers_flight(self):
        for version in ("1.2", "1.3"):
            proxy = await self.secure_proxy("http://127.0.0.1:9", timed=True)
            client = await self.begin(proxy, context=trusting(version=version), stalls=True)
            await client.until(lambda c=client: c.total, "the server's flight")
            await self.expires(proxy, client)
            self.events.clear()

    async def test_in_the_last_flight(self):
        for version in ("1.2", "1.3"):
            proxy = await self.secure_proxy("http://127.0.0.1:9", timed=True)
            client = Dribbling("client", trusting(version=version))
            self.meet(client)
            await connectProtocol(TCP4ClientEndpoint(reactor, *proxy.address), client)
            await client.until(lambda c=client: c.flights >= 2, "the last flight")
            await self.turns()
            await self.expires(proxy, client)
            self.events.clear()

    async def test_trickle_does_not_put_it_off(self):
        proxy = await self.secure_proxy("http://127.0.0.1:9", timed=True)
        client = await self.client(proxy)
        hello = flight()
        for at in range(9):
            client.send(hello[at : at + 1])
            await self.turns(3)
            proxy.wait(1)
        self.assertFalse(client.over)
        proxy.wait(2)
        await client.ended()
        self.assertEqual(proxy.log.reasons, [b"client_tls_timeout"])

    async def test_done_in_time_is_idle_then(self):
        origin = await self.origin()
        proxy = await self.secure_proxy(origin, timed=True)
        client = await self.secure(proxy)
        await self.exchange(client, origin)
        proxy.wait(40)
        await self.exchange(client, origin)
        proxy.wait(62)
        await client.ended()
        self.assertTrue(client.notified)
        self.assertEqual(proxy.log.reasons, [b"ok", b"ok"])

    async def test_request_that_stalls_after_the_handshake_is_408(self):
        proxy = await self.secure_proxy("http://127.0.0.1:9", timed=True)
        client = await self.secure(proxy)
        client.send(b"GET / HT")
        await self.until(
            lambda: any(getattr(c, "buffered", 0) for c in proxy.site.connections), "the bytes"
        )
        proxy.wait(12)
        self.assertEqual((await client.response()).status, 408)

    async def test_client_that_never_reads_does_not_stay(self):
        """Its window is shut for the server's flight already."""
        proxy = await self.secure_proxy("http://127.0.0.1:9", timed=True)
        client = await self.client(proxy, receive_buffer=1)
        client.stop_reading()
        client.transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.send(flight())
        await self.turns()
        proxy.wait(12)
        self.assertEqual((await proxy.log.record()).reason, b"client_tls_timeout")
        await self.gone(proxy)
