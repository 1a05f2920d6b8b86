"""What the load generators print, read."""

from __future__ import annotations

import socket
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.load import LoadError, closed, parse_h2load, parse_s_time, parse_wrk

WRK = """\
Running 4s test @ http://127.0.0.1:21010/1k
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   655.12us  157.76us   6.11ms   88.29%
    Req/Sec    48.37k     1.31k   50.31k    80.00%
  192561 requests in 4.00s, 249.75MB read
Requests/sec:  48128.11
Transfer/sec:     62.42MB
summary requests=192561 duration_us=4001013 p50_us=623 p99_us=1187 \
connect=0 read=0 write=0 timeout=0 status=0
"""

H2LOAD = """\
starting benchmark...
finished in 2.00s, 19092.50 req/s, 23.92MB/s
requests: 38249 total, 38249 started, 38185 done, 38185 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 38249 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 47.84MB (50164640) total, 5.75MB (6027080) headers (space savings 0.00%)
"""

S_TIME = """\
Collecting connection statistics for 2 seconds
*****

5 connections in 0.69s; 7.25 connections/user sec, bytes read 0
5 connections in 3 real seconds, 0 bytes read per connection
"""

# The session comes from a connection that is not counted.
S_TIME_REUSE = """\


Now timing with session id reuse.
starting
rrrrr

5 connections in 0.64s; 7.81 connections/user sec, bytes read 6150
5 connections in 3 real seconds, 1230 bytes read per connection
"""


class WrkTests(SynchronousTestCase):
    def test_counts_and_latencies(self) -> None:
        result = parse_wrk(WRK)
        self.assertEqual(result.requests, 192561)
        self.assertAlmostEqual(result.seconds, 4.001013)
        self.assertEqual((result.p50_ms, result.p99_ms), (0.623, 1.187))
        self.assertEqual(result.errors, {})

    def test_each_kind_of_error_is_kept(self) -> None:
        text = WRK.replace("connect=0", "connect=3").replace("status=0", "status=192561")
        self.assertEqual(parse_wrk(text).errors, {"connect": 3, "status": 192561})

    def test_no_summary(self) -> None:
        error = self.assertRaises(LoadError, parse_wrk, "unable to connect to 127.0.0.1:21010\n")
        self.assertIn("unable to connect", str(error))


class H2loadTests(SynchronousTestCase):
    def test_counts(self) -> None:
        result = parse_h2load(H2LOAD, 2)
        self.assertEqual((result.requests, result.seconds), (38185, 2))
        self.assertIsNone(result.p50_ms)
        self.assertEqual(result.errors, {})

    def test_a_status_that_is_not_2xx_is_an_error_counted_once(self) -> None:
        text = H2LOAD.replace("38185 succeeded, 0 failed", "38178 succeeded, 7 failed").replace(
            "38249 2xx, 0 3xx, 0 4xx, 0 5xx", "38240 2xx, 2 3xx, 3 4xx, 4 5xx"
        )
        self.assertEqual(parse_h2load(text, 2).errors, {"status": 9})

    def test_connections_that_broke(self) -> None:
        text = H2LOAD.replace("0 failed, 0 errored, 0 timeout", "5 failed, 4 errored, 1 timeout")
        self.assertEqual(parse_h2load(text, 2).errors, {"errored": 4, "timeout": 1})

    def test_failures_of_no_known_kind_are_not_lost(self) -> None:
        text = H2LOAD.replace("0 failed", "6 failed")
        self.assertEqual(parse_h2load(text, 2).errors, {"failed": 6})

    def test_no_report(self) -> None:
        self.assertRaises(LoadError, parse_h2load, "no URI or input file given\n", 2)


class STimeTests(SynchronousTestCase):
    def test_full_handshakes(self) -> None:
        result = parse_s_time(S_TIME, 2.5, resumed=False, asking=0)
        self.assertEqual((result.requests, result.seconds, result.errors), (5, 2.5, {}))
        self.assertIsNone(result.p50_ms)

    def test_resumed(self) -> None:
        result = parse_s_time(S_TIME_REUSE, 2, resumed=True, asking=1024)
        self.assertEqual((result.requests, result.errors), (5, {}))

    def test_handshakes_of_the_other_kind_are_errors(self) -> None:
        text = S_TIME_REUSE.replace("rrrrr", "r*rr*")
        self.assertEqual(
            parse_s_time(text, 2, resumed=True, asking=0).errors,
            {"not resumed": 2},
        )
        self.assertEqual(
            parse_s_time(text, 2, resumed=False, asking=0).errors,
            {"resumed": 3},
        )

    def test_answers_that_are_missing(self) -> None:
        text = S_TIME_REUSE.replace("bytes read 6150", "bytes read 4095")
        self.assertEqual(parse_s_time(text, 2, resumed=True, asking=1024).errors, {"short": 2})

    def test_a_connection_that_failed(self) -> None:
        text = "Collecting connection statistics for 2 seconds\n***ERROR\n40C7:error:8000006F\n"
        error = self.assertRaises(LoadError, parse_s_time, text, 2, resumed=False, asking=0)
        self.assertIn("8000006F", str(error))


class ClosedTests(SynchronousTestCase):
    pairs: ClassVar[int] = 4

    def test_counts_those_that_are_no_longer_idle(self) -> None:
        pairs = [socket.socketpair() for _ in range(self.pairs)]
        for pair in pairs:
            for end in pair:
                self.addCleanup(end.close)
        ours = [pair[0] for pair in pairs]
        for end in ours:
            end.settimeout(10)  # as held connections are; asking must not wait for it
        self.assertEqual(closed(ours), 0)
        pairs[1][1].close()
        pairs[2][1].sendall(b"unasked")
        self.assertEqual(closed(ours), 2)
