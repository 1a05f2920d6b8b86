"""JSON Web Tokens (RFC 7519): which are believed, and what they say to a backend.

PyJWT checks signatures; everything around that is decided here, so that time is an argument and
each rule can be read:

1. The algorithm is one of those configured, all of them with public keys: ``none`` and the HMAC
   family are not to be had, and a key serves the algorithms of its own kind alone (RFC 8725
   section 3.1). So nobody can sign with what everybody knows.
2. ``crit`` names extensions that must be understood; none is (RFC 7515 section 4.1.11).
3. The key is the one that ``kid`` names. Without a name, any of the right kind may be it.
4. ``exp`` must be there. ``nbf`` and ``iat``, if they are, must be past. All within ``leeway``.
5. ``iss`` and ``aud`` are what the configuration asks for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from attrs import field, frozen

from txrproxy.http.cookies import cookie_values
from txrproxy.http.fields import Line, make_line

LONGEST = 16 * 1024  # bytes of a token that is looked at
MAX_KEYS = 100  # of a set
MAX_TRIED = 8  # keys for a token that names none
MAX_VALUE = 4096  # bytes of a field made of a claim

_KIND = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", "")),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", ""),
}
_RSA_BITS = range(2048, 8193)
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_IN_LIST = _PRINTABLE.replace(",", "")


class BadKeys(Exception):
    """Not a usable set of keys; the text says why."""


class BadToken(Exception):
    """A token that is not believed; the text says why, in words for the client."""


class UnknownKey(BadToken):
    """The token may be good, and the key that it names newer than the keys that are known."""


@frozen(eq=False)
class Key:
    """One key of a set. ``kind`` is its type and, for an elliptic one, the curve."""

    kid: str | None
    kind: tuple[str, str]
    algorithm: str | None
    key: Any

    def serves(self, algorithm: str) -> bool:
        """Whether it may have signed with this algorithm."""
        return _KIND[algorithm] == self.kind and self.algorithm in (None, algorithm)


def parse_keys(content: bytes) -> tuple[Key, ...]:
    """The keys of a JSON Web Key Set (RFC 7517). Raises :class:`BadKeys`.

    What is not for checking signatures, or of a kind that is not used here, is left out.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise BadKeys("not JSON") from None
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        raise BadKeys('not a JSON Web Key Set: expected an object with "keys"')
    if len(members) > MAX_KEYS:
        raise BadKeys(f"{len(members)} keys; expected {MAX_KEYS} at most")
    keys = []
    for number, member in enumerate(members, 1):
        try:
            key = _parse_key(member)
        except BadKeys as error:
            raise BadKeys(f"key {number}: {error}") from None
        if key is not None:
            keys.append(key)
    if not keys:
        raise BadKeys("no public key of RSA, EC or EdDSA for signatures in it")
    return tuple(keys)


def _parse_key(member: Any) -> Key | None:
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
    from jwt.exceptions import InvalidKeyError

    if not isinstance(member, dict):
        raise BadKeys("not an object")
    kid, algorithm = member.get("kid"), member.get("alg")
    kty = member.get("kty")
    if member.get("use", "sig") != "sig" or kty not in ("RSA", "EC", "OKP"):
        return None
    if algorithm is not None and (not isinstance(algorithm, str) or algorithm not in _KIND):
        return None
    if "d" in member:
        raise BadKeys("a private key; only its public part belongs here")
    if not isinstance(kid, str | None):
        raise BadKeys('"kid" is not a string')
    maker: Any = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}[kty]
    try:
        key = maker.from_jwk(member)
    except (InvalidKeyError, ValueError, TypeError, KeyError):
        raise BadKeys(f"not a valid {kty} key") from None
    if kty == "RSA" and key.key_size not in _RSA_BITS:
        raise BadKeys(f"{key.key_size} bits; expected {_RSA_BITS[0]} to {_RSA_BITS[-1]}")
    kind = (kty, str(member.get("crv")) if kty == "EC" else "")
    return Key(kid, kind, algorithm, key)


@frozen(eq=False)
class Rules:
    """What is asked of a token. ``leeway`` is in seconds; ``claims`` leads to names of fields.

    ``cookie`` is where the token is, None for a Bearer token.
    """

    algorithms: Sequence[str]
    audience: Sequence[str] = ()
    issuer: str = ""
    leeway: float = 60.0
    claims: Mapping[str, bytes] = field(factory=dict)
    cookie: bytes | None = None


@frozen(eq=False)
class Verified:
    """What a token says: lines for the backend, until when it may be believed (unix time), of whom.

    ``subject`` is percent-encoded UTF-8; empty in a token without one.
    """

    lines: tuple[Line, ...]
    expires: float
    subject: bytes = b""


def find(rules: Rules, authorization: Sequence[bytes], cookies: Iterable[bytes]) -> bytes | None:
    """The token of a request; None where there is none. Raises :class:`BadToken`."""
    if rules.cookie is not None:
        values = cookie_values(cookies, rules.cookie)
        if len(values) > 1:
            raise BadToken("more than one cookie of this name")
        token = (values and values[0]) or None
    else:
        if len(authorization) > 1:
            raise BadToken("more than one Authorization")
        scheme, _, rest = authorization[0].partition(b" ") if authorization else (b"", b"", b"")
        token = rest.strip(b" ") if scheme.lower() == b"bearer" else None
    if token is not None and len(token) > LONGEST:
        raise BadToken("the token is too long")
    return token


def verify(token: bytes, keys: Sequence[Key], rules: Rules, now: float) -> Verified:
    """Believe a token or not. ``now`` is unix time. Raises :class:`BadToken`."""
    return judge(_payload(token, keys, rules), rules, now)


def _payload(token: bytes, keys: Sequence[Key], rules: Rules) -> Mapping[str, Any]:
    """The claims, once the signature is found good."""
    from jwt.api_jws import PyJWS
    from jwt.exceptions import PyJWTError

    try:
        header = PyJWS().get_unverified_header(token)
    except (PyJWTError, ValueError, RecursionError):
        raise BadToken("malformed token") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in rules.algorithms:
        raise BadToken("the algorithm is not accepted")
    if "crit" in header or "b64" in header:
        raise BadToken("an extension is not understood")
    if kid is None:
        found = [key for key in keys if key.serves(algorithm)][:MAX_TRIED]
    else:
        found = [key for key in keys if key.kid == kid and key.serves(algorithm)]
    if not found:
        raise UnknownKey("the key is not known")
    for key in found:
        try:
            payload = json.loads(PyJWS().decode(token, key.key, [algorithm]))
        except PyJWTError:
            continue
        except (ValueError, RecursionError):
            raise BadToken("malformed token") from None
        if not isinstance(payload, dict):
            raise BadToken("malformed token")
        return payload
    raise BadToken("the signature is not valid")


def judge(payload: Mapping[str, Any], rules: Rules, now: float) -> Verified:
    """Rules 4 and 5, and the lines for the backend. Raises :class:`BadToken`."""
    expires = _time(payload, "exp")
    if expires is None:
        raise BadToken("the token has no time of expiry")
    expires += rules.leeway
    if expires <= now:
        raise BadToken("the token has expired")
    for moment in ("nbf", "iat"):
        begins = _time(payload, moment)
        if begins is not None and begins - rules.leeway > now:
            raise BadToken("the token is not valid yet")
    if rules.issuer and payload.get("iss") != rules.issuer:
        raise BadToken("the issuer is not accepted")
    if rules.audience:
        told = payload.get("aud")
        told = [told] if isinstance(told, str) else told
        if not isinstance(told, list) or not any(one in rules.audience for one in told):
            raise BadToken("the audience is not accepted")
    lines = []
    for claim, name in rules.claims.items():
        text = _text(_claim(payload, claim))
        if text:
            lines.append(make_line(name, text))
    subject = payload.get("sub")
    who = quote(subject, _PRINTABLE, errors="replace") if isinstance(subject, str) else ""
    return Verified(tuple(lines), expires, who[:MAX_VALUE].encode("ascii"))


def _time(payload: Mapping[str, Any], name: str) -> float | None:
    value = payload.get(name)
    if value is None:
        return None
    # Of a hostile issuer at worst: a whole number may be too large for a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15:
        raise BadToken(f"{name} is not a time")
    if not math.isfinite(value):
        raise BadToken(f"{name} is not a time")
    return float(value)


def _claim(payload: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by a path with dots into claims that are objects."""
    if name in payload:
        return payload[name]
    value: Any = payload
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> bytes:
    """A claim as a field value: percent-encoded UTF-8, lists with commas; else nothing."""
    if isinstance(value, list):
        if not all(isinstance(one, str) for one in value):
            return b""
        text = ",".join(quote(one, _IN_LIST, errors="replace") for one in value)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = quote(value, _PRINTABLE, errors="replace")
    elif isinstance(value, int) and abs(value) < 1 << 64:
        text = str(value)
    else:
        return b""
    if len(text) > MAX_VALUE:
        raise BadToken("a claim is too long")
    return text.strip(" ").encode("ascii")


def challenge(realm: str, why: str) -> Line:
    """What a request without a token, or with one that is not believed, is told (RFC 6750)."""
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    text = f'Bearer realm="{quoted}"'
    if why:
        text += f', error="invalid_token", error_description="{why}"'
    return make_line(b"WWW-Authenticate", text.encode())
