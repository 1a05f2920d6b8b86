from __future__ import annotations

import argon2
import bcrypt
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.filters import htpasswd
from txrproxy.filters.htpasswd import BadUsers, apr1, libraries, parse, verify

BCRYPT = bcrypt.hashpw(b"secret", bcrypt.gensalt(4))
ARGON2 = argon2.PasswordHasher(1, 8, 1).hash("secret").encode()
# By `openssl passwd -apr1`.
APR1 = b"$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"
ALL = (BCRYPT, ARGON2, APR1)


class ParseTests(SynchronousTestCase):
    def test_good(self) -> None:
        text = b"# staff\r\n\na:%b\n  b:%b:more\nc d:%b" % ALL
        users = parse(text)
        self.assertEqual(users.hashes, {b"a": BCRYPT, b"b": ARGON2, b"c d": APR1})
        self.assertEqual(list(libraries(users)), ["bcrypt", "argon2"])
        self.assertEqual(list(libraries(parse(b"a:" + APR1))), [])

    def test_bad(self) -> None:
        for text, why in (
            (b"", "no users"),
            (b"a", "line 1: expected NAME:HASH"),
            (b"\n:" + APR1, "line 2: expected NAME:HASH"),
            (b"a:%b\na:%b" % (APR1, APR1), "line 2: this user was there before"),
            ("é:x".encode(), "line 1: a user name"),
            (b"a\x01:x", "line 1: a user name"),
            (b"a :" + APR1, "line 1: a user name"),
            (b"a:secret", "not a hash of"),
            (b"a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "unsalted SHA-1"),
            (b"a:$6$x$y", r"crypt\(3\)"),
            (b"a:$1$x$y", r"crypt\(3\)"),
            (b"a:" + BCRYPT.replace(b"$04$", b"$31$"), "the cost of bcrypt"),
            (b"a:" + BCRYPT[:-1], "not a hash of"),
            (b"a:" + ARGON2.replace(b"m=8,", b"m=99999999,"), "parameters of Argon2"),
            (b"a:" + ARGON2.replace(b"t=1,", b"t=0,"), "parameters of Argon2"),
        ):
            with self.assertRaisesRegex(BadUsers, why) as caught:
                parse(text)
            self.assertNotIn("secret", str(caught.exception))

    def test_too_many(self) -> None:
        self.patch(htpasswd, "MAX_USERS", 2)
        with self.assertRaisesRegex(BadUsers, "more than 2"):
            parse(b"".join(b"%d:%b\n" % (number, APR1) for number in range(3)))

    @given(st.binary())
    def test_anything(self, content: bytes) -> None:
        try:
            parse(content)
        except BadUsers:
            pass


class VerifyTests(SynchronousTestCase):
    def test_each_kind(self) -> None:
        for hashed in ALL:
            self.assertTrue(verify(hashed, b"secret"), hashed)
            for wrong in (b"", b"Secret", b"secret ", b"\xff"):
                self.assertFalse(verify(hashed, wrong), hashed)

    def test_as_htpasswd_does(self) -> None:
        long = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4))
        self.assertTrue(verify(long, b"x" * 100))
        self.assertTrue(verify(BCRYPT.replace(b"$2b$", b"$2y$"), b"secret"))

    def test_a_broken_hash_is_nobodys(self) -> None:
        broken = ARGON2[: ARGON2.rfind(b"$") + 1] + b"A" * 17
        parse(b"a:" + broken)
        self.assertFalse(verify(broken, b"secret"))

    def test_apr1(self) -> None:
        """Against OpenSSL's."""
        self.assertEqual(apr1(b"", b"x"), b"$apr1$x$tMwYqBfQwi3FYAr0aJc8M/")
        self.assertEqual(apr1(("é" * 40).encode(), b"xy"), b"$apr1$xy$L0iCjM/X1LxqnQ25iodr11")

    def test_a_stranger_costs_what_a_user_does(self) -> None:
        users = parse(b"a:%b\nb:%b\nc:%b" % ALL)
        self.assertEqual(users.entry(b"a", b"key"), (BCRYPT, True))
        found = {users.entry(b"x%d" % number, b"key") for number in range(100)}
        self.assertEqual(found, {(hashed, False) for hashed in ALL})
        self.assertEqual(users.entry(b"x", b"key"), users.entry(b"x", b"key"))
