"""A cookie leads back to its backend, and tells nothing else to anybody."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.balance.backend import Backend, State
from txrproxy.balance.pool import Pool
from txrproxy.balance.sticky import Sticky, token


class StickyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.backends = [Backend(name, name) for name in (b"10.0.0.1:80", b"10.0.0.2:80")]
        self.pool = Pool(b"app", self.backends)
        self.sticky = Sticky(b"txr", b"secret", self.pool)

    def test_token(self) -> None:
        """The same in every process with the secret, another for every other name."""
        known = token(b"secret", b"app", b"10.0.0.1:80")
        self.assertEqual(self.backends[0].token, known)
        self.assertTrue(re.fullmatch(rb"[A-Za-z0-9_-]{22}", known))
        others = [
            token(b"other", b"app", b"10.0.0.1:80"),
            token(b"secret", b"next", b"10.0.0.1:80"),
            token(b"secret", b"app", b"10.0.0.2:80"),
            token(b"secret", b"ap", b"p10.0.0.1:80"),
        ]
        self.assertEqual(len({known, *others}), 5)

    def test_no_secret(self) -> None:
        self.assertRaises(ValueError, Sticky, b"txr", b"", self.pool)

    def test_find(self) -> None:
        a, b = self.backends
        for lines, found in (
            ((), None),
            ((b"",), None),
            ((b"txr=" + b.token,), b),
            ((b"x=1; txr=nobody", b"y=2; txr=%b; txr=%b" % (a.token, b.token)), a),
            ((b"txr=10.0.0.1:80",), None),
            ((b"other=" + b.token,), None),
            ((b"txr=" + b.token[:-1],), None),
        ):
            self.assertIs(self.sticky.find(lines), found, lines)

    def test_whatever_state(self) -> None:
        """Whether it may be had is for the exchange to ask: a cookie it has need not be set."""
        a, _ = self.backends
        self.pool.set_state(a, State.DRAIN, 0.0)
        self.assertIs(self.sticky.find((b"txr=" + a.token,)), a)

    def test_set_cookie(self) -> None:
        a, _ = self.backends
        value = b"txr=%b; Path=/; HttpOnly; SameSite=Lax" % a.token
        name, plain, line, _ = self.sticky.set_cookie(a, False)
        self.assertEqual((name, plain), (b"set-cookie", value))
        self.assertEqual(line, b"Set-Cookie: %b\r\n" % value)
        self.assertEqual(self.sticky.set_cookie(a, True)[1], value + b"; Secure")
        self.assertNotIn(b"10.0.0", line)

    def test_members_change(self) -> None:
        a, b = self.backends
        c, d = Backend(b"c", b"c"), Backend(b"d", b"d")
        self.pool.replace([b, c], 1.0)
        self.assertIs(self.sticky.find((b"txr=" + token(b"secret", b"app", b"c"),)), c)
        self.assertIsNone(self.sticky.find((b"txr=" + a.token,)))
        self.assertIs(self.sticky.find((b"txr=" + b.token,)), b)
        self.pool.replace([d], 2.0)
        self.assertIn(token(b"secret", b"app", b"d"), self.sticky.set_cookie(d, False)[1])
