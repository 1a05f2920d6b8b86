from __future__ import annotations

import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.filters import tokens
from txrproxy.filters.tokens import (
    BadKeys,
    BadToken,
    Rules,
    UnknownKey,
    challenge,
    find,
    judge,
    parse_keys,
    verify,
)

RSA = rsa.generate_private_key(65537, 2048)
SMALL = rsa.generate_private_key(65537, 1024)
EC = ec.generate_private_key(ec.SECP256R1())
EC_384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
NOW = 1_000_000.0


def jwk(maker: Any, key: Any, **more: Any) -> dict[str, Any]:
    return {**maker.to_jwk(key.public_key(), as_dict=True), **more}


MEMBERS = [
    jwk(RSAAlgorithm, RSA, kid="rsa", use="sig", alg="RS256"),
    jwk(ECAlgorithm, EC, kid="ec"),
    jwk(ECAlgorithm, EC_384, kid="ec384"),
    jwk(OKPAlgorithm, ED, kid="ed"),
]
ALL = Rules(("RS256", "RS384", "ES256", "ES384", "EdDSA"))


def key_set(*members: Any) -> bytes:
    return json.dumps({"keys": list(members)}).encode()


KEYS = parse_keys(key_set(*MEMBERS))


def sign(key: Any, algorithm: str, kid: str | None = None, **more: Any) -> bytes:
    headers = {**({} if kid is None else {"kid": kid}), **more.pop("headers", {})}
    return jwt.encode({"exp": NOW + 60, **more}, key, algorithm, headers).encode()


class KeysTests(SynchronousTestCase):
    def test_what_is_not_used_is_left_out(self) -> None:
        found = parse_keys(
            key_set(
                {"kty": "oct", "k": "c2VjcmV0", "kid": "hmac"},
                {"kty": "new"},
                {**MEMBERS[0], "use": "enc"},
                {**MEMBERS[0], "alg": "HS256"},
                {**MEMBERS[0], "alg": ["RS256"]},
                MEMBERS[1],
            )
        )
        self.assertEqual([key.kid for key in found], ["ec"])

    def test_bad(self) -> None:
        private = RSAAlgorithm.to_jwk(RSA, as_dict=True)
        for content, why in (
            (b"", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b"\xff", "not JSON"),
            (b"[]", "not a JSON Web Key Set"),
            (b"{}", "not a JSON Web Key Set"),
            (key_set(), "no public key"),
            (key_set({"kty": "oct", "k": "c2VjcmV0"}), "no public key"),
            (key_set(1), "key 1: not an object"),
            (key_set(MEMBERS[1], private), "key 2: a private key"),
            (key_set({**MEMBERS[0], "kid": 1}), 'key 1: "kid"'),
            (key_set({**MEMBERS[0], "n": "!"}), "key 1: not a valid RSA key"),
            (key_set({"kty": "EC"}), "key 1: not a valid EC key"),
            (key_set({**MEMBERS[1], "crv": "P-384"}), "key 1: not a valid EC key"),
            (key_set(jwk(RSAAlgorithm, SMALL)), "key 1: 1024 bits"),
            (key_set(*[MEMBERS[1]] * 101), "101 keys"),
        ):
            with self.assertRaisesRegex(BadKeys, why):
                parse_keys(content)


class SignatureTests(SynchronousTestCase):
    def refused(self, token: bytes, why: str, rules: Rules = ALL) -> None:
        with self.assertRaisesRegex(BadToken, why):
            verify(token, KEYS, rules, NOW)

    def test_good(self) -> None:
        for key, algorithm, kid in (
            (RSA, "RS256", "rsa"),
            (EC, "ES256", "ec"),
            (EC_384, "ES384", "ec384"),
            (ED, "EdDSA", "ed"),
            (RSA, "RS256", None),
            (ED, "EdDSA", None),
        ):
            found = verify(sign(key, algorithm, kid), KEYS, ALL, NOW)
            self.assertEqual(found.expires, NOW + 60 + 60)

    def test_bad(self) -> None:
        other = ec.generate_private_key(ec.SECP256R1())
        self.refused(sign(other, "ES256", "ec"), "signature")
        self.refused(sign(other, "ES256"), "signature")
        self.refused(sign(EC, "ES256", "ec") + b"A", "")
        self.refused(sign(EC, "ES256", "ec"), "algorithm", Rules(("RS256",)))
        self.refused(sign("x" * 64, "HS256", "rsa"), "algorithm")
        self.refused(jwt.encode({}, None, "none").encode(), "algorithm")
        # A key serves its own kind: not another curve, not what "alg" does not say.
        with self.assertRaises(UnknownKey):
            verify(sign(EC, "ES256", "ec384"), KEYS, ALL, NOW)
        with self.assertRaises(UnknownKey):
            verify(sign(RSA, "RS384", "rsa"), KEYS, ALL, NOW)
        with self.assertRaises(UnknownKey):
            verify(sign(RSA, "RS256", "ec"), KEYS, ALL, NOW)
        self.refused(sign(EC, "ES256", "ec", headers={"crit": ["x"], "x": 1}), "")
        detached = jwt.utils.base64url_encode(b'{"alg":"ES256","kid":"ec","b64":true}')
        self.refused(detached + b".e30.eHh4", "extension")

    def test_malformed(self) -> None:
        signed = sign(EC, "ES256", "ec")
        deep = jwt.utils.base64url_encode(b'{"alg":' + b"[" * 5000)
        for token in (b"", b"a", b"a.b.c", b"..", signed[:20], deep + b".e30.x", b"\xff.\xff.\xff"):
            self.refused(token, "malformed")
        header = {"kid": "ec", "typ": "JWT"}
        for payload in (b"[]", b"nonsense", b"\xff", b"[" * 5000):
            token = jwt.api_jws.PyJWS().encode(payload, EC, "ES256", header).encode()
            self.refused(token, "malformed")

    @given(st.binary(max_size=200))
    def test_anything(self, token: bytes) -> None:
        self.assertRaises(BadToken, verify, token, KEYS, ALL, NOW)


class ClaimsTests(SynchronousTestCase):
    def lines(self, payload: dict[str, Any], **claims: bytes) -> list[bytes]:
        names = {name.replace("__", "."): field for name, field in claims.items()}
        found = judge({"exp": NOW + 1, **payload}, Rules((), claims=names), NOW)
        return [line[2] for line in found.lines]

    def refused(self, why: str, payload: dict[str, Any], **rules: Any) -> None:
        with self.assertRaisesRegex(BadToken, why):
            judge(payload, Rules((), **rules), NOW)

    def test_time(self) -> None:
        rules = Rules((), leeway=10)
        for payload in (
            {"exp": NOW - 9},
            {"exp": NOW + 1, "nbf": NOW + 10, "iat": NOW + 10},
            {"exp": NOW + 1, "nbf": NOW, "iat": None},
        ):
            self.assertEqual(judge(payload, rules, NOW).expires, payload["exp"] + 10)
        self.refused("no time of expiry", {})
        self.refused("expired", {"exp": NOW - 10}, leeway=10)
        self.refused("not valid yet", {"exp": NOW + 99, "nbf": NOW + 11}, leeway=10)
        self.refused("not valid yet", {"exp": NOW + 99, "iat": NOW + 11}, leeway=10)
        for odd in ("1", True, [], float("nan"), float("inf"), 10**400):
            self.refused("not a time", {"exp": odd})

    def test_issuer_and_audience(self) -> None:
        base: dict[str, Any] = {"exp": NOW + 1}
        rules = {"issuer": "https://login", "audience": ("api", "app")}
        for audience in ("api", ["x", "app"]):
            judge({**base, "iss": "https://login", "aud": audience}, Rules((), **rules), NOW)
        for odd in (None, "https://login/", ["https://login"]):
            self.refused("issuer", {**base, "iss": odd, "aud": "api"}, **rules)
        for odd in (None, "ap", [], ["x"], [["api"]], {"api": 1}, 1):
            self.refused("audience", {**base, "iss": "https://login", "aud": odd}, **rules)

    def test_fields(self) -> None:
        for value, line in (
            ("alice", b"alice"),
            (" é\r\nX: 1 %", b"%C3%A9%0D%0AX: 1 %25"),
            (["a", "b,c"], b"a,b%2Cc"),
            ([], None),
            ([1], None),
            ({}, None),
            ("", None),
            (True, b"true"),
            (False, b"false"),
            (17, b"17"),
            (10**30, None),
            (1.5, None),
            (None, None),
            ("\ud800", b"?"),
        ):
            expected = [] if line is None else [b"X-Sub: " + line + b"\r\n"]
            self.assertEqual(self.lines({"sub": value}, sub=b"X-Sub"), expected, value)
        self.refused("too long", {"exp": NOW + 1, "a": "x" * 5000}, claims={"a": b"X"})

    def test_paths(self) -> None:
        payload = {"realm": {"roles": ["a"]}, "https://x/y": "z", "realm.flat": "first"}
        self.assertEqual(self.lines(payload, realm__roles=b"R"), [b"R: a\r\n"])
        self.assertEqual(self.lines(payload, realm__flat=b"R"), [b"R: first\r\n"])
        self.assertEqual(self.lines(payload, realm__roles__deeper=b"R"), [])
        self.assertEqual(self.lines(payload, **{"https://x/y": b"R"}), [b"R: z\r\n"])


class FindTests(SynchronousTestCase):
    def test_bearer(self) -> None:
        rules = Rules(())
        for values, token in (
            ([b"Bearer a.b.c"], b"a.b.c"),
            ([b"bearer  a.b.c"], b"a.b.c"),
            ([b"Basic abc"], None),
            ([b"Bearer"], b""),
            ([], None),
        ):
            self.assertEqual(find(rules, values, []), token)
        self.assertRaises(BadToken, find, rules, [b"Bearer a", b"Bearer a"], [])
        self.assertRaises(BadToken, find, rules, [b"Bearer " + b"x" * 20000], [])

    def test_cookie(self) -> None:
        rules = Rules((), cookie=b"t")
        self.assertEqual(find(rules, [b"Bearer x"], [b"a=1; t=abc"]), b"abc")
        self.assertIsNone(find(rules, [b"Bearer x"], [b"a=1; t="]))
        self.assertIsNone(find(rules, [], []))
        self.assertRaises(BadToken, find, rules, [], [b"t=a; t=b"])

    def test_challenge(self) -> None:
        self.assertEqual(challenge('a"b', "")[1], b'Bearer realm="a\\"b"')
        self.assertIn(b'error="invalid_token", error_description="why"', challenge("a", "why")[1])

    def test_bounds(self) -> None:
        many = parse_keys(key_set(*[{**MEMBERS[1], "kid": str(number)} for number in range(20)]))
        other = sign(ec.generate_private_key(ec.SECP256R1()), "ES256")
        tried: list[object] = []
        real = jwt.api_jws.PyJWS.decode

        def counted(*args: Any, **more: Any) -> Any:
            tried.append(args)
            return real(*args, **more)

        self.patch(jwt.api_jws.PyJWS, "decode", counted)
        self.assertRaises(BadToken, verify, other, many, ALL, NOW)
        self.assertEqual(len(tried), tokens.MAX_TRIED)
