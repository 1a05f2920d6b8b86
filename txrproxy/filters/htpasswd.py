"""The file of users that htpasswd(1) writes: parsed strictly, verified in constant time.

bcrypt, Argon2 and Apache's MD5 ("apr1") are taken. Plain text, unsalted SHA-1 and the old crypt(3)
are not: who has read such a file has the passwords.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping

MAX_USERS = 100_000
_BCRYPT = re.compile(rb"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_ARGON2 = re.compile(
    rb"\$argon2(?:id|i|d)\$v=19\$m=(\d{1,8}),t=(\d{1,3}),p=(\d{1,2})"
    rb"\$[A-Za-z0-9+/]{8,128}\$[A-Za-z0-9+/]{16,128}"
)
_APR1 = re.compile(rb"\$apr1\$([./A-Za-z0-9]{1,8})\$[./A-Za-z0-9]{22}")
_ITOA64 = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MOST_ROUNDS = 16  # of bcrypt, as a power of two: some five seconds
_MOST_MEMORY = 1 << 20  # KiB of Argon2
_MOST_PASSES = 64


class BadUsers(Exception):
    """The file can not be used; the text names the line and says why, and never what is in it."""


class Users:
    """User names and what their passwords are held against."""

    __slots__ = ("_all", "hashes")

    def __init__(self, hashes: Mapping[bytes, bytes]) -> None:
        self.hashes = hashes
        self._all = tuple(hashes.values())

    def entry(self, name: bytes, secret: bytes) -> tuple[bytes, bool]:
        """What a password is held against, and whether it can be right at all.

        An unknown name gets the hash of somebody, always the same of the same name, so that the
        time that an answer takes does not tell who exists. ``secret`` keeps whose it is from being
        guessed.
        """
        found = self.hashes.get(name)
        if found is not None:
            return found, True
        mark = hashlib.blake2b(name, key=secret, digest_size=8).digest()
        somebody = int.from_bytes(mark, "big") % len(self._all)
        return self._all[somebody], False


def parse(content: bytes) -> Users:
    """The users of a file. Raises :class:`BadUsers`."""
    hashes: dict[bytes, bytes] = {}
    for number, line in enumerate(content.splitlines(), 1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        name, colon, rest = text.partition(b":")
        if not colon or not name:
            raise BadUsers(f"line {number}: expected NAME:HASH")
        if not name.isascii() or not name.decode("ascii").isprintable() or name != name.strip():
            raise BadUsers(f"line {number}: a user name is of printable ASCII characters")
        if name in hashes:
            raise BadUsers(f"line {number}: this user was there before")
        hashed = rest.partition(b":")[0]
        why = _fault(hashed)
        if why:
            raise BadUsers(f"line {number}: {why}")
        hashes[name] = hashed
        if len(hashes) > MAX_USERS:
            raise BadUsers(f"more than {MAX_USERS} users")
    if not hashes:
        raise BadUsers("no users in it; `htpasswd -B FILE NAME` adds one")
    return Users(hashes)


def _fault(hashed: bytes) -> str:
    bcrypt, argon2 = _BCRYPT.fullmatch(hashed), _ARGON2.fullmatch(hashed)
    if bcrypt:
        if not 4 <= int(bcrypt[1]) <= _MOST_ROUNDS:
            return f"the cost of bcrypt is 4 to {_MOST_ROUNDS}"
        return ""
    if argon2:
        memory, passes, lanes = (int(number) for number in argon2.groups())
        if not (8 * lanes <= memory <= _MOST_MEMORY and 1 <= passes <= _MOST_PASSES and lanes):
            return "these parameters of Argon2 are not sensible"
        return ""
    if _APR1.fullmatch(hashed):
        return ""
    for start, what in (
        (b"{SHA}", "an unsalted SHA-1 hash"),
        (b"$1$", "a hash of crypt(3)"),
        (b"$5$", "a hash of crypt(3)"),
        (b"$6$", "a hash of crypt(3)"),
    ):
        if hashed.startswith(start):
            return f"{what} is not taken; `htpasswd -B FILE NAME` writes one that is"
    return "not a hash of bcrypt, Argon2 or apr1; `htpasswd -B FILE NAME` writes one"


def libraries(users: Users) -> Iterator[str]:
    """The modules that verifying these users takes."""
    hashes = users.hashes.values()
    if any(hashed.startswith(b"$2") for hashed in hashes):
        yield "bcrypt"
    if any(hashed.startswith(b"$argon2") for hashed in hashes):
        yield "argon2"


def verify(hashed: bytes, password: bytes) -> bool:
    """Whether the password is the one; takes up to seconds, so it belongs in a thread."""
    if hashed.startswith(b"$2"):
        import bcrypt

        # As htpasswd does: bcrypt looks at 72 bytes.
        return bcrypt.checkpw(password[:72], hashed)
    if hashed.startswith(b"$argon2"):
        import argon2

        try:
            return argon2.PasswordHasher().verify(hashed, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
    return hmac.compare_digest(apr1(password, hashed.split(b"$")[2]), hashed)


def apr1(password: bytes, salt: bytes) -> bytes:
    """Apache's variant of the MD5 scheme of FreeBSD's crypt(3), as in its apr_md5.c."""

    def md5(data: bytes) -> bytes:
        return hashlib.md5(data, usedforsecurity=False).digest()

    mixed = md5(password + salt + password)
    start = password + b"$apr1$" + salt
    length = len(password)
    start += (mixed * (length // 16 + 1))[:length]
    bits = length
    while bits:
        start += b"\0" if bits & 1 else password[:1]
        bits >>= 1
    digest = md5(start)
    for turn in range(1000):
        data = password if turn & 1 else digest
        if turn % 3:
            data += salt
        if turn % 7:
            data += password
        data += digest if turn & 1 else password
        digest = md5(data)
    out = b""
    for triple in ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)):
        a, b, c = (digest[index] for index in triple)
        out += _encode(a << 16 | b << 8 | c, 4)
    return b"$apr1$" + salt + b"$" + out + _encode(digest[11], 2)


def _encode(number: int, length: int) -> bytes:
    return bytes(_ITOA64[number >> 6 * index & 63] for index in range(length))
