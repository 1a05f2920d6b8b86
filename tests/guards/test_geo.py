from __future__ import annotations

from ipaddress import ip_address

from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.guards.mmdb import database
from txrproxy.guards.geo import COUNTRIES, NETWORKS, BadDatabase, Database, places

RECORDS = {
    "192.0.2.0/24": {"country": {"iso_code": "CH"}},
    "2001:db8::/32": {"country": {"iso_code": "DE"}, "autonomous_system_number": 64500},
    "198.51.100.0/24": {"country": {"names": {"en": "nowhere"}}},
    "203.0.113.0/24": "odd",
}
SYSTEMS = {"192.0.2.0/25": {"autonomous_system_number": 64496}}


class DatabaseTests(SynchronousTestCase):
    def found(self, made: Database, address: str) -> list[str]:
        return made.places(ip_address(address))

    def test_places(self) -> None:
        made = Database(database(RECORDS))
        for address, expected in (
            ("192.0.2.1", ["CH"]),
            ("192.0.3.1", []),
            ("2001:db8::1", ["DE", "AS64500"]),
            ("2001:db9::1", []),
            ("198.51.100.1", []),
            ("203.0.113.1", []),
        ):
            self.assertEqual(self.found(made, address), expected, address)
        self.assertEqual(self.found(Database(database(SYSTEMS, version=4)), "2001:db8::1"), [])

    def test_kinds(self) -> None:
        for kind, expected in (
            ("GeoLite2-Country", {COUNTRIES}),
            ("GeoLite2-City", {COUNTRIES}),
            ("GeoLite2-ASN", {NETWORKS}),
            ("GeoIP2-ISP", {NETWORKS}),
            ("GeoIP2-Enterprise", {COUNTRIES, NETWORKS}),
            ("Own", {COUNTRIES, NETWORKS}),
        ):
            self.assertEqual(Database(database(SYSTEMS, kind)).kinds, expected, kind)

    def test_bad(self) -> None:
        whole = database(RECORDS)
        for content in (b"", b"nothing", whole[:-40], whole[200:], b"\0" * 5000):
            with self.assertRaises(BadDatabase) as caught:
                Database(content)
            self.assertNotIn("/proc", str(caught.exception))

    def test_broken_inside(self) -> None:
        """It is logged once, and its addresses are those of nowhere."""
        whole = database({"10.0.0.0/8": {"country": {"iso_code": "CH"}}})
        at = whole.index(b"country") - 2
        made = Database(whole[:at] + b"\xff\xff" + whole[at + 2 :])
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        for _ in range(2):
            self.assertEqual(self.found(made, "10.0.0.1"), [])
        (event,) = events
        self.assertIn("Test-Country is broken", formatEvent(event))

    def test_together(self) -> None:
        made = [Database(database(RECORDS)), Database(database(SYSTEMS, "Test-ASN"))]
        judge = places(lambda: made, ["CH"], ["AS64496"])
        for address, expected in (("192.0.2.1", False), ("192.0.2.200", True)):
            self.assertIs(judge(ip_address(address)), expected, address)
        self.assertIs(judge(None), False)
        self.assertIs(places(lambda: made, ["unknown"], [])(None), True)
        self.assertIs(places(lambda: made, ["unknown"], [])(ip_address("10.0.0.1")), True)
