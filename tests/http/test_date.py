"""The Date line follows the second."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http.date import http_date_line


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
