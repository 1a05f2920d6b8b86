from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http import form
from txrproxy.http.form import BadForm, parse_multipart

TYPE = b"multipart/form-data; boundary=x"


def part(disposition, content, more=b""):
    return b"--x\r\nContent-Disposition: %b\r\n%b\r\n%b\r\n" % (disposition, more, content)


class MultipartTests(SynchronousTestCase):
    def test_parts(self):
        content = (
            b"preamble\r\n"
            + part(b'form-data; name="a"', b"1")
            + part(
                b'form-data; name="f"; filename="n; name=z"', b"\0\r\n--y", b"Content-Type: a/b\r\n"
            )
            + part(b"form-data; filename=q; NAME=a", b"")
            + b"--x--\r\nepilogue"
        )
        self.assertEqual(
            parse_multipart(content, TYPE), [(b"a", b"1"), (b"f", b"\0\r\n--y"), (b"a", b"")]
        )

    def test_names(self):
        for written, name in (
            (b'"a\\"b"', b'a"b'),
            (b'"a\\b"', b"a\\b"),
            (b'"\xc3\xa4"', b"\xc3\xa4"),
        ):
            content = part(b"form-data; name=" + written, b"1") + b"--x--"
            self.assertEqual(parse_multipart(content, TYPE), [(name, b"1")])

    def test_parts_without_a_name(self):
        content = (
            part(b"form-data", b"1") + b"--x\r\n\r\nno fields\r\n--x \t\r\nA: b\r\n\r\n\r\n--x--"
        )
        self.assertEqual(parse_multipart(content, TYPE), [])

    def test_boundary(self):
        for written in (b'BOUNDARY="x"', b"charset=a; boundary=x", b"boundary=x; boundary=y"):
            self.assertEqual(parse_multipart(b"--x--", b"multipart/form-data; " + written), [])
        for written in (b"", b"; boundary=", b"; boundary=" + b"x" * 71, b'; boundary="x'):
            with self.assertRaises(BadForm):
                parse_multipart(b"--x--", b"multipart/form-data" + written)

    def test_malformed(self):
        for content in (
            b"",
            b"a=b",
            b"--x",
            b"--x\r\nA: b\r\n",
            part(b"form-data; name=a", b"1"),
            b"--xy\r\n\r\n\r\n--x--",
            b"--x\r\nA: b\r\n--x--",
            b"--x\r\nA: " + b"b" * form.MAX_PART_HEAD + b"\r\n\r\n\r\n--x--",
        ):
            with self.assertRaises(BadForm, msg=content):
                parse_multipart(content, TYPE)

    def test_number_of_parts(self):
        one = part(b"form-data; name=a", b"1")
        self.assertEqual(len(parse_multipart(one * form.MAX_PARTS + b"--x--", TYPE)), 1000)
        with self.assertRaises(BadForm):
            parse_multipart(one * (form.MAX_PARTS + 1) + b"--x--", TYPE)
