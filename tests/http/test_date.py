"""The Date line follows the second; dates are read in three forms."""

from __future__ import annotations

import calendar
from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http.date import http_date_line, parse_http_date


class DateTests(SynchronousTestCase):
    def test_the_form_of_the_rfc(self) -> None:
        # The example of RFC 9110 section 5.6.7.
        self.assertEqual(http_date_line(784111777), b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n")

    def test_one_line_a_second(self) -> None:
        self.assertIs(http_date_line(784111777.0), http_date_line(784111777.99))
        self.assertEqual(http_date_line(784111778.0), b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n")

    def test_a_clock_that_goes_back(self) -> None:
        later = http_date_line(784111778)
        self.assertNotEqual(http_date_line(784111777), later)


NOW = 1_700_000_000.0  # 2023


class ParseTests(SynchronousTestCase):
    def test_three_forms(self) -> None:
        for value in (
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            b"Sunday, 06-Nov-94 08:49:37 GMT",
            b"Sun Nov  6 08:49:37 1994",
            b"Sun Nov 06 08:49:37 1994",
            b"sUN, 06 nOV 1994 08:49:37 gmt",
            b"Mon, 06 Nov 1994 08:49:37 GMT",
        ):
            self.assertEqual(parse_http_date(value, NOW), 784111777, value)

    def test_the_century_of_two_digits(self) -> None:
        for year, now, full in (
            (b"50", NOW, 2050),
            (b"72", NOW, 2072),
            (b"74", NOW, 1974),
            (b"99", NOW, 1999),
            (b"00", NOW, 2000),
            (b"10", 4_000_000_000.0, 2110),  # it is 2096
        ):
            value = b"Monday, 01-Mar-%b 00:00:00 GMT" % year
            self.assertEqual(
                parse_http_date(value, now), calendar.timegm((full, 3, 1, 0, 0, 0)), year
            )

    def test_days_of_months(self) -> None:
        for day, month, year, valid in (
            (29, b"Feb", 2024, True),
            (29, b"Feb", 2023, False),
            (29, b"Feb", 1900, False),
            (29, b"Feb", 2000, True),
            (30, b"Feb", 2000, False),
            (31, b"Apr", 2000, False),
            (31, b"Dec", 9999, True),
            (0, b"Dec", 2000, False),
            (1, b"Jan", 0, True),
        ):
            value = b"Sun, %02d %b %04d 00:00:00 GMT" % (day, month, year)
            self.assertEqual(parse_http_date(value, NOW) is not None, valid, value)

    def test_times(self) -> None:
        for time, valid in (
            (b"23:59:60", True),
            (b"24:00:00", False),
            (b"00:60:00", False),
            (b"00:00:61", False),
        ):
            value = b"Sun, 06 Nov 1994 %b GMT" % time
            self.assertEqual(parse_http_date(value, NOW) is not None, valid, time)

    def test_no_dates(self) -> None:
        for value in (
            b"",
            b"0",
            b"Sun, 06 Nov 1994 08:49:37",
            b"Sun, 06 Nov 1994 08:49:37 UTC",
            b"Sun, 6 Nov 1994 08:49:37 GMT",
            b"Sun, 06 Nov 1994 08:49:37 GMT ",
            b"Sunday, 06 Nov 1994 08:49:37 GMT",
            b"Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT".encode(),
        ):
            self.assertIsNone(parse_http_date(value, NOW), value)

    @given(st.integers(0, 250_000_000_000))
    def test_what_is_written_is_read(self, seconds: int) -> None:
        written = formatdate(seconds, usegmt=True).encode("ascii")
        self.assertEqual(parse_http_date(written, NOW), seconds)
