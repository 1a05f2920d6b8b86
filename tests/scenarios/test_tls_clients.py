"""Client certificates through the whole proxy, and names with rules of their own."""

import base64
import hashlib

from cryptography.hazmat.primitives.serialization import Encoding

from tests.scenarios.harness import EMPTY_OK, GET
from tests.scenarios.tls import (
    ALICE,
    BOB,
    CLIENTS,
    MALLORY,
    ROOT,
    SERVER,
    SecureScenario,
    trusting,
)

ADMIN = ROOT.issue("admin.example", subject="admin")
SECOND = ROOT.issue("second.example", subject="second")

SPOOFED = [
    b"X-Client-Cert-Verify: SUCCESS",
    b"X-Client-Cert-Subject: CN=root",
    b"x-client-cert-san: DNS:root.example",
    b"X_Client_Cert_Fingerprint: 00",
    b"X-Client-Cert-Serial: 1",
    b"Client-Cert: :AAAA:",
    b"Client_Cert: :AAAA:",
    b"Client-Cert-Chain: :AAAA:",
]
SPOOFING = b"GET / HTTP/1.1\r\nHost: a.example\r\n" + b"\r\n".join(SPOOFED) + b"\r\n\r\n"


def told(message):
    """What the origin hears of the client's certificate."""
    return {
        name.lower().replace(b"_", b"-"): value
        for name, value in message.fields
        if b"client" in name.lower() and b"cert" in name.lower()
    }


class Clients(SecureScenario):
    def setUp(self):
        super().setUp()
        self.ca = self.file("clients.pem", CLIENTS.pem)

    def asks(self, how):
        return f'client_auth = "{how}", client_ca = "{self.ca}"'

    async def asking(self, how, **parts):
        origin = await self.origin()
        return origin, await self.secure_proxy(origin, tls=self.asks(how), **parts)


class FieldTests(Clients):
    async def test_origin_is_told_of_the_certificate(self):
        der = ALICE.certificate.public_bytes(Encoding.DER)
        root = CLIENTS.certificate.public_bytes(Encoding.DER)  # sent along
        for how in ("optional", "required"):
            for version in ("1.2", "1.3"):
                origin, proxy = await self.asking(how)
                context = trusting(version=version, certificate=ALICE)
                client = await self.secure(proxy, context=context)
                for _ in range(2):
                    seen, response = await self.exchange(client, origin, SPOOFING)
                    self.assertEqual(response.status, 200)
                    self.assertEqual(
                        told(seen),
                        {
                            b"x-client-cert-verify": b"SUCCESS",
                            b"x-client-cert-subject": b"CN=alice",
                            b"x-client-cert-san": b"DNS:alice.example",
                            b"x-client-cert-fingerprint": hashlib.sha256(der).hexdigest().encode(),
                            b"x-client-cert-serial": b"%x" % ALICE.certificate.serial_number,
                            b"client-cert": b":%b:" % base64.b64encode(der),
                            b"client-cert-chain": b":%b:" % base64.b64encode(root),
                        },
                    )
                notes = (await proxy.log.record(2)).notes
                self.assertEqual(notes[b"client_cert"], b"CN=alice")
                self.assertEqual(notes[b"client_cert_san"], b"DNS:alice.example")
                fingerprint = hashlib.sha256(der).hexdigest().encode()
                self.assertEqual(notes[b"client_cert_fingerprint"], fingerprint)

    async def test_origin_is_told_of_the_chain(self):
        middle = CLIENTS.issue(subject="middle", ca=True)
        carol = middle.issue(subject="carol", client=True)  # sends middle and root with it
        expected = b", ".join(
            b":%b:" % base64.b64encode(one.public_bytes(Encoding.DER)) for one in carol.above
        )
        for version in ("1.2", "1.3"):
            origin, proxy = await self.asking("required")
            context = trusting(version=version, certificate=carol)
            client = await self.secure(proxy, context=context)
            seen, _ = await self.exchange(client, origin, SPOOFING)
            self.assertEqual(seen.get(b"x-client-cert-subject"), b"CN=carol")
            self.assertEqual(seen.get(b"client-cert-chain"), expected)
            again = await self.secure(proxy, context=context, session=client.tls.get_session())
            seen, _ = await self.exchange(again, origin, SPOOFING)
            self.assertTrue(again.resumed)
            self.assertNotIn(b"client-cert-chain", told(seen))

    async def test_without_one_where_it_is_optional(self):
        origin, proxy = await self.asking("optional")
        client = await self.secure(proxy)
        seen, _ = await self.exchange(client, origin, SPOOFING)
        self.assertEqual(told(seen), {b"x-client-cert-verify": b"NONE"})
        self.assertFalse((await proxy.log.record()).client_cert)

    async def test_spoofed_fields_are_dropped_where_nobody_is_asked(self):
        origin, _, client = await self.secure_pair()
        seen, _ = await self.exchange(client, origin, SPOOFING)
        self.assertEqual(told(seen), {})

    async def test_trusted_proxies_can_not_say_so_either(self):
        origin, proxy = await self.asking("optional", server='trusted_proxies = ["127.0.0.0/8"]')
        client = await self.secure(proxy)
        seen, _ = await self.exchange(client, origin, SPOOFING)
        self.assertEqual(told(seen), {b"x-client-cert-verify": b"NONE"})

    async def test_spoofed_trailers_are_dropped(self):
        origin, proxy = await self.asking("optional")
        client = await self.secure(proxy)
        client.send(
            b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n"
            b"Trailer: Client-Cert\r\n\r\n1\r\na\r\n0\r\n"
            b"Client-Cert: :AAAA:\r\nX-Client-Cert-Verify: SUCCESS\r\n\r\n"
        )
        seen = await origin.request()
        self.assertEqual(seen.trailers, [])
        origin.reply(EMPTY_OK)
        await client.response()

    async def test_resumed_connection_has_the_same_client(self):
        for version in ("1.2", "1.3"):
            origin, proxy = await self.asking("required")
            context = trusting(version=version, certificate=ALICE)
            first = await self.secure(proxy, context=context)
            await self.exchange(first, origin)
            again = await self.secure(proxy, context=context, session=first.tls.get_session())
            seen, _ = await self.exchange(again, origin)
            self.assertTrue(again.resumed)
            self.assertEqual(seen.get(b"x-client-cert-subject"), b"CN=alice")


class RefusedTests(Clients):
    async def refused(self, proxy, name=b"a.example", **how):
        client = await self.begin(proxy, name, **how)
        reason = await client.refused()
        await client.ended()
        self.assertEqual((await proxy.log.record()).reason, b"client_tls_failed")
        self.assertEqual(len(proxy.log.records), 1)
        return reason

    async def test_nobody_without_one_where_it_is_required(self):
        for version, reason in (
            ("1.2", "handshake failure"),
            ("1.3", "certificate required"),
        ):
            _, proxy = await self.asking("required")
            context = trusting(version=version)
            self.assertIn(reason, await self.refused(proxy, context=context))

    async def test_a_bad_one_is_refused_where_it_is_optional_too(self):
        for how in ("optional", "required"):
            for version in ("1.2", "1.3"):
                _, proxy = await self.asking(how)
                context = trusting(version=version, certificate=MALLORY)
                self.assertIn("alert", await self.refused(proxy, context=context))

    async def test_request_sent_with_the_last_flight_goes_nowhere(self):
        origin, proxy = await self.asking("required")
        client = await self.secure(proxy)  # in TLS 1.3 a client is done before it is verified
        client.send(GET)
        await client.refused()
        await client.ended()
        self.assertEqual(origin.wires, [])
        self.assertEqual(proxy.log.reasons, [b"client_tls_failed"])

    async def test_strict_names(self):
        for name in (b"other.example", None, b"a.a.wild.example", b"wild.example"):
            proxy = await self.secure_proxy("http://127.0.0.1:9", tls="strict_sni = true")
            self.assertIn("unrecognized name", await self.refused(proxy, name))

    async def test_strict_names_that_are_known(self):
        origin = await self.origin()
        proxy = await self.secure_proxy(origin, tls="strict_sni = true")
        for name in (b"a.example", b"A.Example", b"a.example.", b"x.wild.example"):
            client = await self.secure(proxy, name)
            await self.exchange(client, origin)

    async def test_minimum_version_of_a_name(self):
        origin = await self.origin()
        proxy = await self.secure_proxy(
            origin, entries=(self.put(SERVER), self.put(SECOND, "b") + ', min_version = "1.3"')
        )
        context = trusting(version="1.2")
        client = await self.secure(proxy, context=context)
        await self.exchange(client, origin)
        await self.secure(proxy, b"second.example")
        client = await self.begin(proxy, b"second.example", context=context)
        self.assertIn("protocol version", await client.refused())


class NameTests(Clients):
    async def test_certificate_by_name(self):
        proxy = await self.secure_proxy(
            "http://127.0.0.1:9", entries=(self.put(SERVER), self.put(SECOND, "second"))
        )
        for name, issued in (
            (b"a.example", SERVER),
            (b"second.example", SECOND),
            (b"SECOND.example", SECOND),
            (b"second.example.", SECOND),
            (b"x.wild.example", SERVER),
            (b"unknown.example", SERVER),
            (None, SERVER),
        ):
            client = await self.secure(proxy, name)
            self.assertEqual(client.certificate, issued.certificate, name)

    async def mixed(self):
        origin = await self.origin()
        proxy = await self.secure_proxy(
            origin,
            entries=(self.put(SERVER), self.put(ADMIN, "admin") + f", {self.asks('required')}"),
        )
        return origin, proxy

    async def ask_for(self, client, host):
        return await self.ask(client, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)

    async def test_host_that_asks_for_more_than_the_connection_showed(self):
        origin, proxy = await self.mixed()
        for host in (b"admin.example", b"ADMIN.example:443", b"admin.example."):
            client = await self.secure(proxy, context=trusting(certificate=ALICE))
            response = await self.ask_for(client, host)
            self.assertEqual(response.status, 421, host)
        self.assertEqual(proxy.log.reasons, [b"misdirected"] * 3)
        self.assertEqual(origin.wires, [])

    async def test_absolute_target_does_not_get_around_it(self):
        origin, proxy = await self.mixed()
        client = await self.secure(proxy)
        request = b"GET http://admin.example/ HTTP/1.1\r\nHost: admin.example\r\n\r\n"
        self.assertEqual((await self.ask(client, request)).status, 421)
        self.assertEqual(origin.wires, [])

    async def test_connection_for_it_is_served_and_told_of(self):
        origin, proxy = await self.mixed()
        context = trusting(certificate=ALICE)
        client = await self.secure(proxy, b"admin.example", context=context)
        request = b"GET / HTTP/1.1\r\nHost: admin.example\r\n\r\n"
        seen, _ = await self.exchange(client, origin, request)
        self.assertEqual(seen.get(b"x-client-cert-subject"), b"CN=alice")

    async def test_same_rules_share_a_connection(self):
        origin = await self.origin()
        proxy = await self.secure_proxy(
            origin, entries=(self.put(SERVER), self.put(SECOND, "second"))
        )
        client = await self.secure(proxy)
        await self.exchange(client, origin, b"GET / HTTP/1.1\r\nHost: second.example\r\n\r\n")

    async def test_session_of_an_open_name_does_not_open_the_other(self):
        for version in ("1.2", "1.3"):
            origin, proxy = await self.mixed()
            context = trusting(version=version)
            first = await self.secure(proxy, context=context)
            await self.exchange(first, origin)
            count = len(origin.wires)
            again = await self.begin(
                proxy, b"admin.example", context=context, session=first.tls.get_session()
            )
            await again.refused()
            self.assertEqual(len(origin.wires), count)

    async def test_session_of_another_name_is_no_hindrance(self):
        """It is not resumed: a full handshake follows, in which the certificate is shown."""
        admin = b"GET / HTTP/1.1\r\nHost: admin.example\r\n\r\n"
        for version in ("1.2", "1.3"):
            origin, proxy = await self.mixed()
            context = trusting(version=version, certificate=ALICE)
            first = await self.secure(proxy, context=context)
            await self.exchange(first, origin)
            other = await self.secure(
                proxy, b"admin.example", context=context, session=first.tls.get_session()
            )
            seen, response = await self.exchange(other, origin, admin)
            self.assertFalse(other.resumed)
            self.assertEqual(response.status, 200)
            self.assertEqual(seen.get(b"x-client-cert-subject"), b"CN=alice")
            again = await self.secure(
                proxy, b"admin.example", context=context, session=other.tls.get_session()
            )
            seen, _ = await self.exchange(again, origin, admin)
            self.assertTrue(again.resumed)
            self.assertEqual(seen.get(b"x-client-cert-subject"), b"CN=alice")
            open_name = await self.secure(proxy, context=context, session=again.tls.get_session())
            seen, _ = await self.exchange(open_name, origin)
            self.assertFalse(open_name.resumed)
            self.assertEqual(told(seen), {})


class InternationalTests(Clients):
    async def test_name(self):
        """As a certificate spells it, and as clients ask for it and spell Host."""
        issued = ROOT.issue("xn--bcher-kva.example", "*.xn--mnchen-3ya.example", subject="books")
        origin = await self.origin()
        proxy = await self.secure_proxy(
            origin,
            entries=(self.put(SERVER), self.put(issued, "books")),
            more="""
                [[routes]]
                name = "books"
                match = { host = ["xn--bcher-kva.example", "*.xn--mnchen-3ya.example"] }
                pool = "app"
            """,
        )
        for asked in ("bücher.example", "www.münchen.example", "BÜCHER.example"):
            name = asked.encode("idna")
            client = await self.secure(proxy, name)
            self.assertEqual(client.certificate, issued.certificate, asked)
            seen, _ = await self.exchange(
                client, origin, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % name
            )
            self.assertEqual(seen.get(b"host").lower(), name.lower())
        self.assertEqual({record.route for record in proxy.log.records}, {b"books"})


class RoutingTests(Clients):
    MORE = """
        [pools.admin]
        backends = ["{}"]
        [[routes]]
        name = "by subject"
        match = {{ path = "/subject", client_cert = {{ subject = ["CN=alice", "CN=eve"] }} }}
        pool = "admin"
        [[routes]]
        name = "by san"
        match = {{ path = "/san", client_cert = {{ san = "DNS:alice.example" }} }}
        pool = "admin"
        [[routes]]
        name = "by fingerprint"
        match = {{ path = "/fingerprint", client_cert = {{ fingerprint = "{}" }} }}
        pool = "admin"
    """

    async def test_match_by_client_certificate(self):
        der = ALICE.certificate.public_bytes(Encoding.DER)
        everyone, admin = await self.origin("everyone"), await self.origin("admin")
        more = self.MORE.format(admin.url, hashlib.sha256(der).hexdigest())
        proxy = await self.secure_proxy(everyone, tls=self.asks("optional"), more=more)
        for certificate, expected in ((ALICE, admin), (BOB, everyone), (None, everyone)):
            client = await self.secure(proxy, context=trusting(certificate=certificate))
            for kind in (b"subject", b"san", b"fingerprint"):
                request = b"GET /%b HTTP/1.1\r\nHost: a.example\r\n\r\n" % kind
                await self.exchange(client, expected, request)
        routes = [record.route for record in proxy.log.records]
        self.assertEqual(routes, [b"by subject", b"by san", b"by fingerprint"] + [b"all"] * 6)
