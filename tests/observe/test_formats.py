import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.observe.formats import (
    FIELDS,
    OF_TLS,
    Record,
    _Memo,
    combined_formatter,
    json_formatter,
    redactor,
)

NAMES = (
    "time",
    "client",
    "method",
    "target",
    "version",
    "host",
    "status",
    "bytes_in",
    "bytes_out",
    "route",
    "pool",
    "backend",
    "connect",
    "first_byte",
    "total",
    "reason",
    "request_id",
    "user_agent",
    "referer",
    "way",
    "notes",
)

SAMPLE: dict[str, Any] = {
    "time": 1_700_000_000.25,
    "client": b"192.0.2.1",
    "method": b"GET",
    "target": b"/a?b=c",
    "version": b"1.1",
    "host": b"example.com",
    "status": 200,
    "bytes_in": 7,
    "bytes_out": 1024,
    "route": b"api",
    "pool": b"app",
    "backend": b"10.0.0.1:80",
    "connect": 0.0015,
    "first_byte": 0.0123456,
    "total": 1.5,
    "reason": b"ok",
    "request_id": b"id-1",
    "user_agent": b"curl/8",
    "referer": b"",
    "way": (b"web", b"http", b"", b""),
    "notes": (),
}


def record(**changes: Any) -> Record:
    values = SAMPLE | changes
    return tuple(values[name] for name in NAMES)  # type: ignore[return-value]


class JSONTests(SynchronousTestCase):
    def test_notes(self):
        notes = ((b"client_cert", b'CN="a"\n'), (b"tries", b"10.0.0.1:80 reset"))
        line = json_formatter()([record(notes=notes)])
        self.assertEqual(json.loads(line)["tries"], "10.0.0.1:80 reset")
        self.assertEqual(json.loads(line)["client_cert"], 'CN="a"\n')
        self.assertIn(b',"referer":"","client_cert":"CN=\\"a\\"\\n","tries":', line)
        self.assertNotIn(b"client_cert", json_formatter()([record()]))

    def test_every_field(self):
        line = json_formatter()([record()])
        self.assertEqual(
            line,
            b'{"time":"2023-11-14T22:13:20.250Z","client":"192.0.2.1",'
            b'"listener":"web","scheme":"http","method":"GET","version":"1.1","host":"example.com","target":"/a?b=c","status":200,"route":"api",'
            b'"pool":"app","backend":"10.0.0.1:80","reason":"ok","bytes_in":7,"bytes_out":1024,'
            b'"connect_ms":1.500,"first_byte_ms":12.346,"total_ms":1500.000,"request_id":"id-1",'
            b'"user_agent":"curl/8","referer":""}\n',
        )
        self.assertEqual(tuple(json.loads(line)), FIELDS)

    def test_a_connection_with_tls(self):
        line = json_formatter()([record(way=(b"web", b"https", b"TLSv1.3", b'a"b'))])
        self.assertIn(b',"scheme":"https","tls":"TLSv1.3","sni":"a\\"b","method":', line)
        self.assertEqual(set(json.loads(line)) - set(FIELDS), set(OF_TLS))

    def test_a_handshake_that_failed(self) -> None:
        line = json_formatter()([record(way=(b"web", b"https", b"", b"a.example"))])
        self.assertIn(b',"scheme":"https","sni":"a.example","method":', line)

    def test_durations_that_never_were(self):
        entry = json.loads(json_formatter()([record(connect=None, first_byte=None)]))
        self.assertIsNone(entry["connect_ms"])
        self.assertIsNone(entry["first_byte_ms"])

    def test_no_line_can_be_forged(self):
        evil = b'"}\n{"status":1}\r\\\x00\x7f\x85\xff'
        names = [name for name in NAMES if isinstance(SAMPLE[name], bytes)]
        (line,) = json_formatter()([record(**dict.fromkeys(names, evil))]).splitlines()
        entry = json.loads(line)
        for name in names:
            self.assertEqual(entry[name].encode("latin-1"), evil)

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
    def test_always_valid(self, target, agent, host):
        line = json_formatter()([record(target=target, user_agent=agent, host=host)])
        self.assertEqual(line.count(b"\n"), 1)
        entry = json.loads(line)
        self.assertEqual(
            [entry[name].encode("latin-1") for name in ("target", "user_agent", "host")],
            [target, agent, host],
        )

    def test_time_goes_on_and_back(self):
        render = json_formatter()
        times = [10.0, 10.0, 10.9996, 11.5, 9.001, 86400.0]
        stamps = [
            json.loads(line)["time"][11:]
            for line in render([record(time=time) for time in times]).splitlines()
        ]
        self.assertEqual(
            stamps,
            [
                "00:00:10.000Z",
                "00:00:10.000Z",
                "00:00:10.999Z",
                "00:00:11.500Z",
                "00:00:09.000Z",
                "00:00:00.000Z",
            ],
        )
        self.assertIn(b"00:00:00.000Z", render([record(time=86400.0)]))

    def test_redacts_target_and_referer(self):
        entry = json.loads(
            json_formatter(["token"])(
                [record(target=b"/x?token=1", referer=b"https://a/?b=2&token=3")]
            )
        )
        self.assertEqual(entry["target"], "/x?token=***")
        self.assertEqual(entry["referer"], "https://a/?b=2&token=***")


class CombinedTests(SynchronousTestCase):
    def test_line(self):
        self.assertEqual(
            combined_formatter()([record(referer=b"https://a/")]),
            b'192.0.2.1 - - [14/Nov/2023:22:13:20 +0000] "GET /a?b=c HTTP/1.1" 200 1024'
            b' "https://a/" "curl/8"\n',
        )

    def test_user(self):
        for notes, expected in (
            (((b"user", b"alice"), (b"cache", b"hit")), b"alice"),
            (((b"user", b'al "ice\n'),), rb"al\x20\x22ice\x0A"),
            (((b"cache", b"hit"),), b"-"),
        ):
            line = combined_formatter()([record(notes=notes)])
            self.assertTrue(line.startswith(b"192.0.2.1 - " + expected + b" ["), line)

    def test_what_is_missing_is_a_dash(self):
        self.assertEqual(
            combined_formatter()(
                [record(client=b"", method=b"", target=b"", user_agent=b"", referer=b"")]
            ),
            b'- - - [14/Nov/2023:22:13:20 +0000] "-" 200 1024 "-" "-"\n',
        )

    def test_escapes(self):
        line = combined_formatter()(
            [record(target=b'/"\\\n\r\x00\x7f\xe9', user_agent=b'x" 200 "', referer=b"\n")]
        )
        self.assertIn(rb'"GET /\x22\x5C\x0A\x0D\x00\x7F\xE9 HTTP/1.1"', line)
        self.assertTrue(line.endswith(rb'"\x0A" "x\x22 200 \x22"' + b"\n"))

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
    def test_always_parses(self, target, agent, referer):
        line = combined_formatter()([record(target=target, user_agent=agent, referer=referer)])
        self.assertIsNotNone(
            re.fullmatch(rb'192\.0\.2\.1 - - \[[^]]+\] "[^"]*" 200 1024 "[^"]*" "[^"]*"\n', line)
        )

    def test_redacts_target_and_referer(self):
        line = combined_formatter(["k"])([record(target=b"/x?k=1", referer=b"http://a/?k=2")])
        self.assertIn(b'"GET /x?k=*** HTTP/1.1"', line)
        self.assertIn(b'"http://a/?k=***"', line)


class RedactorTests(SynchronousTestCase):
    def test_table(self):
        redact = redactor(["token", "api key", "a.b"])
        for target, expected in (
            (b"/token=1", b"/token=1"),
            (b"/?x=token", b"/?x=token"),
            (b"/?token=1", b"/?token=***"),
            (b"/?TOKEN=1&x=2", b"/?TOKEN=***&x=2"),
            (b"/?x=2&token=", b"/?x=2&token=***"),
            (b"/?token", b"/?token"),
            (b"/?mytoken=1&token2=2", b"/?mytoken=1&token2=2"),
            (b"/?%74oken=1", b"/?%74oken=***"),
            (b"/?api+key=1&api%20key=2", b"/?api+key=***&api%20key=***"),
            (b"/?a.b=1&aXb=2", b"/?a.b=***&aXb=2"),
            (b"/?x=1;token=2;y=3&z=4", b"/?x=1;token=***&z=4"),
            (b"/?token=1;2&z=4", b"/?token=***&z=4"),
            (b"/?%7=1&token=a?b=c", b"/?%7=1&token=***"),
        ):
            self.assertEqual(redact(target), expected, target)

    def test_long_queries_take_no_close_look(self):
        redact = redactor(["token"])
        self.assertEqual(redact(b"/a?" + b"%74oken=1&" * 5000), b"/a?***")
        harmless = b"/a?" + b"x=1&" * 5000
        self.assertEqual(redact(harmless), harmless)
        questions = b"/" + b"?" * 30000
        self.assertEqual(redact(questions), questions)


class MemoTests(SynchronousTestCase):
    def test_bounded(self):
        memo = _Memo[bytes](bytes.decode)
        for number in range(5000):
            self.assertEqual(memo[b"%d" % number], str(number))
        self.assertLessEqual(len(memo), 1024)
        self.assertEqual(memo[b"x" * 513], "x" * 513)
        self.assertNotIn(b"x" * 513, memo)
