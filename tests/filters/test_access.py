from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.filters.access import REMEMBERED, Access, Networks


def networks(*texts: str) -> list[object]:
    return [ip_network(text) for text in texts]


def access(allow: str = "", deny: str = "", **more: object) -> Access:
    return Access(networks(*allow.split()), networks(*deny.split()), **more)  # type: ignore[arg-type]


class AccessTests(SynchronousTestCase):
    def test_table(self) -> None:
        both = access("10.0.0.0/8 2001:db8::/32", "10.1.0.0/16")
        for rules, client, admitted in (
            (access(), b"192.0.2.1", True),
            (access(), b"unknown", True),
            (access("0.0.0.0/0 ::/0"), b"unknown", False),
            (access("0.0.0.0/0 ::/0"), b"10.0.0", False),
            (access("0.0.0.0/0 ::/0"), b"10.0.0.256", False),
            (access("0.0.0.0/0 ::/0"), b"::x", False),
            (access("10.0.0.0/8"), b"10.255.0.1", True),
            (access("10.0.0.0/8"), b"11.0.0.1", False),
            (access("10.0.0.0/8"), b"unknown", False),
            (access(deny="10.0.0.0/8"), b"unknown", True),
            (access(deny="10.0.0.0/8"), b"::ffff:10.0.0.1", False),
            (access(deny="::ffff:10.0.0.0/104"), b"10.0.0.1", False),
            (access(deny="::ffff:10.0.0.0/104"), b"11.0.0.1", True),
            (access(deny="::/0"), b"10.0.0.1", True),
            (access(deny="0.0.0.0/0"), b"2001:db8::1", True),
            (access(deny="fe80::/10"), b"fe80::1%eth0", False),
            (both, b"10.0.0.1", True),
            (both, b"10.1.0.1", False),
            (both, b"2001:db8::1", True),
            (both, b"2001:db9::1", False),
        ):
            for _ in range(2):
                self.assertIs(rules.admits(client), admitted, (rules, client))

    def test_places(self) -> None:
        asked: list[str] = []

        def here(address: object) -> bool:
            asked.append(str(address))
            return str(address) in ("192.0.2.1", "2001:db8::1")

        rules = access(deny="10.0.0.0/8", places=here)
        self.assertTrue(rules.admits(b"::ffff:192.0.2.1"))
        self.assertFalse(rules.admits(b"192.0.2.2"))
        self.assertTrue(rules.admits(b"2001:db8::1"))
        self.assertFalse(rules.admits(b"unknown"))
        self.assertFalse(rules.admits(b"10.0.0.1"))
        rules.admits(b"192.0.2.2")
        self.assertEqual(asked, ["192.0.2.1", "192.0.2.2", "2001:db8::1", "None"])
        rules.forget()
        rules.admits(b"192.0.2.2")
        self.assertEqual(asked[4:], ["192.0.2.2"])

    def test_memory_is_bounded(self) -> None:
        rules = access("10.0.0.0/8")
        for number in range(3 * REMEMBERED):
            rules.admits(b"10.0.%d.%d" % divmod(number, 256))
        self.assertLessEqual(len(rules._known), REMEMBERED)

    @given(
        st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32))),
        st.integers(0, 2**32 - 1),
    )
    def test_as_ipaddress_has_it(self, members: list[tuple[int, int]], number: int) -> None:
        listed = [ip_network((first, length), strict=False) for first, length in members]
        address = ip_address(number)
        found = Networks(listed)
        self.assertEqual(
            found.has(int(address), False), any(address in network for network in listed)
        )
        self.assertEqual(bool(found), bool(listed))
