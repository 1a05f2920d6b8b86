"""The contract with the binding below pyOpenSSL; ``test_contexts`` and ``test_profiles`` use it."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import authority
from tests.tls.handshake import client_context, shake
from txrproxy.tls import binding
from txrproxy.tls.certificates import load
from txrproxy.tls.profiles import new_context, use

ROOT = authority()
LEAF = ROOT.issue("a.example")


class BindingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.context = new_context("intermediate")
        self.loaded = load(LEAF.write(Path(self.mktemp())), Path)
        use(self.context, self.loaded)

    def connection(self) -> SSL.Connection:
        connection = SSL.Connection(self.context)
        connection.set_accept_state()
        return connection

    def test_names_of_the_binding(self) -> None:
        library: Any = binding._lib
        for name in (
            "SSL_CTX_set_tlsext_servername_callback",
            "SSL_CTX_set_alpn_select_cb",
            "SSL_CTX_set1_curves_list",
            "SSL_CTX_set1_sigalgs_list",
            "SSL_session_reused",
            "SSL_MODE_RELEASE_BUFFERS",
            "SSL_OP_NO_RENEGOTIATION",
            "ERR_clear_error",
        ):
            self.assertTrue(hasattr(library, name), name)

    def test_alert_of_choice(self) -> None:
        for alert, text in (
            (binding.UNRECOGNIZED_NAME, "unrecognized name"),
            (binding.PROTOCOL_VERSION, "protocol version"),
            (binding.ILLEGAL_PARAMETER, "illegal parameter"),
            (binding.HANDSHAKE_FAILURE, "handshake failure"),
            (binding.INTERNAL_ERROR, "internal error"),
        ):
            binding.on_server_name(self.context, lambda _, alert=alert: alert)
            self.assertIn(text, shake(self).alert)
        binding.on_server_name(self.context, lambda _: 0)
        self.assertEqual(shake(self).alert, "")

    def test_callbacks_live_as_long_as_the_context(self) -> None:
        names: list[object] = []

        def choose(connection: SSL.Connection) -> int:
            names.append(connection.get_servername())
            return 0

        binding.on_server_name(self.context, choose)
        binding.on_protocols(self.context, [b"one", b"two"])
        del choose
        gc.collect()
        outcome = shake(self, alpn=(b"two", b"one", b"on"))
        self.assertEqual(outcome.client.get_alpn_proto_negotiated(), b"one")
        self.assertEqual(names, [b"a.example"])

    def test_unknown_groups_are_left_out(self) -> None:
        known = binding.set_groups(self.context, ["nonesuch", "X25519", "prime256v1"])
        self.assertEqual(known, ("X25519", "prime256v1"))
        error = self.assertRaises(ValueError, binding.set_groups, self.context, ["nonesuch"])
        self.assertIn("nonesuch", str(error))
        self.assertEqual(shake(self).alert, "")  # no error is left behind for others to trip over

    def test_unknown_signatures(self) -> None:
        error = self.assertRaises(
            ValueError, binding.set_signature_algorithms, self.context, ["nonesuch"]
        )
        self.assertIn("nonesuch", str(error))
        self.assertEqual(shake(self).alert, "")

    def test_chain_without_memory_files(self) -> None:
        self.patch(binding.os.path, "isdir", lambda _: False)
        self.context = new_context("intermediate")
        use(self.context, self.loaded)
        chain = shake(self).client.get_peer_cert_chain(as_cryptography=True)
        self.assertEqual(chain, [LEAF.certificate, ROOT.certificate])

    def test_words_of_an_error(self) -> None:
        error = SSL.Error([("SSL routines", "", "no shared cipher")])
        self.assertEqual(binding.reason(error), "no shared cipher")
        for empty in (SSL.Error(), SSL.Error([]), SSL.Error([("", "", "")])):
            self.assertEqual(binding.reason(empty), "unknown")

    def test_not_resumed(self) -> None:
        outcome = shake(self, context=client_context())
        self.assertFalse(binding.is_resumed(outcome.server))
