"""References: only what lies in the same origin; the rest is in ``test_rfc9111_validation``."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.cache.policy.invalidation import resolved


class ResolvedTests(SynchronousTestCase):
    def test_table(self) -> None:
        base = b"http://h/a/b?c"
        for reference, url in (
            (b"", b"http://h/a/b?c"),
            (b"d", b"http://h/a/d"),
            (b"../d", b"http://h/d"),
            (b"/d%aa#x", b"http://h/d%AA"),
            (b"?d", b"http://h/a/b?d"),
            (b"http://H:80", b"http://h/"),
            (b"http://h?d/e", b"http://h/?d/e"),
            (b"http://h.evil/", None),
            (b"https://h/", None),
            (b"mailto:h", None),
            (b"http://[h/", None),
        ):
            self.assertEqual(resolved(base, reference), url, reference)

    @given(st.binary(max_size=40))
    def test_any_bytes(self, reference: bytes) -> None:
        found = resolved(b"http://h/a", reference)
        self.assertTrue(found is None or found.startswith(b"http://h/"))
