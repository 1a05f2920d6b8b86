from http import HTTPStatus

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http.status import PHRASES, STATUS_LINES, status_line


class StatusTests(SynchronousTestCase):
    def test_covers_the_registry(self):
        known = {int(status) for status in HTTPStatus} - {418}  # a joke, not registered
        self.assertEqual(known - set(PHRASES), set())

    def test_lines(self):
        self.assertEqual(STATUS_LINES[200], b"HTTP/1.1 200 OK\r\n")
        self.assertEqual(status_line(404), b"HTTP/1.1 404 Not Found\r\n")
        self.assertEqual(status_line(599), b"HTTP/1.1 599 \r\n")
        for status, phrase in PHRASES.items():
            self.assertEqual(STATUS_LINES[status], b"HTTP/1.1 %d %b\r\n" % (status, phrase))
