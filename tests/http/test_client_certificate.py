"""Fields that tell of a client's certificate: ours pass, nobody else's do."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http.fields import allowed_trailers, is_client_certificate, parse_fields
from txrproxy.http.forward import RequestRules, changes, request_head
from txrproxy.http.head import parse_request_head
from txrproxy.http.peer import Peer

FORGED = (
    b"Client-Cert",
    b"client-cert",
    b"CLIENT-CERT-CHAIN",
    b"Client_Cert",
    b"client-cert_chain",
    b"X-Client-Cert-Subject",
    b"X-Client-Cert-San",
    b"X-Client-Cert-Fingerprint",
    b"X-Client-Cert-Verify",
    b"X-Client-Cert-Serial",
    b"X-Client-Cert",
    b"X-Client-Cert-Whatever",
    b"X_Client_Cert_Subject",
    b"X-Client-Cert_Verify",
    b"x_client-cert-verify",
)


def sent(head: bytes, peer: Peer, rules: RequestRules | None = None) -> bytes:
    request = parse_request_head(head)
    block = (rules or RequestRules(peer.trusted)).block(
        request.fields, request.facts, request.authority
    )
    return request_head(request.method, request.target.origin, b"", block, peer, b"id")


class ForgeryTests(SynchronousTestCase):
    def test_dropped_from_everyone(self) -> None:
        for name in FORGED:
            for trusted in (False, True):
                peer = Peer(b"192.0.2.1", b"https", trusted)
                for others in (b"", b"\r\nConnection: close", b"\r\nX-Forwarded-For: 10.0.0.1"):
                    head = b"GET / HTTP/1.1\r\nHost: a\r\n%b: forged%b" % (name, others)
                    self.assertNotIn(b"forged", sent(head, peer), (name, trusted))

    def test_dropped_beside_the_real_ones(self) -> None:
        lines = b"X-Client-Cert-Verify: NONE\r\n"
        peer = Peer(b"192.0.2.1", b"https", False, None, lines)
        head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Client-Cert-Verify: SUCCESS"
        made = sent(head, peer)
        self.assertEqual(made.count(b"X-Client-Cert-Verify"), 1)
        self.assertIn(lines, made)

    def test_from_trailers(self) -> None:
        block = b"".join(b"%b: forged\r\n" % name for name in FORGED) + b"Kept: yes"
        kept = allowed_trailers(parse_fields(block))
        self.assertEqual([line[0] for line in kept.lines], [b"kept"])

    def test_names_alike_pass(self) -> None:
        for name in (b"X-Client", b"Client-Certificate", b"My-Client-Cert", b"X-Clientcert"):
            head = b"GET / HTTP/1.1\r\nHost: a\r\n%b: mine" % name
            self.assertIn(b": mine\r\n", sent(head, Peer(b"192.0.2.1", b"https", False)))

    def test_a_policy_may_set_them(self) -> None:
        rules = RequestRules(False, changes=changes(set=[(b"Client-Cert", b"ours")]))
        head = b"GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: forged"
        made = sent(head, Peer(b"192.0.2.1", b"https", False), rules)
        self.assertIn(b"Client-Cert: ours\r\n", made)
        self.assertNotIn(b"forged", made)


class PeerTests(SynchronousTestCase):
    def test_lines_are_sent_once_in_every_form(self) -> None:
        lines = b"X-Client-Cert-Verify: SUCCESS\r\nClient-Cert: :AA==:\r\n"
        for trusted, proto in ((False, b""), (True, b""), (True, b"\r\nX-Forwarded-Proto: http")):
            peer = Peer(b"192.0.2.1", b"https", trusted, None, lines)
            made = sent(b"GET / HTTP/1.1\r\nHost: a" + proto, peer)
            self.assertEqual(made.count(lines), 1)
            self.assertEqual(made.count(b"X-Forwarded-Proto:"), 1)
            self.assertTrue(made.endswith(lines + b"X-Request-Id: id\r\n\r\n"))

    def test_without_a_certificate_nothing_is_added(self) -> None:
        made = sent(b"GET / HTTP/1.1\r\nHost: a", Peer(b"192.0.2.1", b"http", False))
        self.assertNotIn(b"Client-Cert", made)

    def test_secure(self) -> None:
        self.assertTrue(Peer(b"192.0.2.1", b"https", False).secure)
        self.assertFalse(Peer(b"192.0.2.1", b"http", False).secure)

    def test_names(self) -> None:
        self.assertTrue(is_client_certificate(b"client-cert"))
        self.assertTrue(is_client_certificate(b"x-client-cert-san"))
        self.assertFalse(is_client_certificate(b"x-client"))
