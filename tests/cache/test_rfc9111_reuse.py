"""RFC 9111 sections 4, 4.1 and 4.2: what a stored response may answer, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.cache.play import START, Play, date, request, response
from txrproxy.cache.policy import Rules, Verdict, for_request, reuse, select
from txrproxy.cache.policy.freshness import Freshness
from txrproxy.cache.stored import Stored

RULES = Rules()


def stored(*lines: bytes, age: float = 0.0, status: int = 200, **given: object) -> Stored:
    """A response that came in ``age`` seconds before the start."""
    at = START - age
    head = response(*lines, status=status)
    return Stored(b"k", b"http://h/a", head, 10, at, at, **given)  # type: ignore[arg-type]


class ReuseTests(SynchronousTestCase):
    def verdict(self, one: Stored, *asked: bytes, rules: Rules = RULES) -> Verdict:
        return reuse(one, for_request(request(*asked), rules), START, rules).verdict

    def test_section_4_url_and_method_match(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=60")
        play.ask()
        self.assertTrue(play.ask().is_hit)
        self.assertTrue(play.ask(method=b"HEAD").is_hit)
        self.assertEqual(play.ask(method=b"HEAD").body, b"")
        for other in ({"target": b"/b"}, {"host": b"i"}, {"scheme": b"https"}):
            self.assertFalse(play.ask(**other).is_hit, other)
        for method in (b"POST", b"OPTIONS", b"PUT"):
            self.assertIn(b"fwd=method", play.ask(method=method).cache_status)

    def test_section_4_age_takes_the_place_of_the_one_received(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=600", b"Age: 30")
        play.ask()
        play.wait(5)
        got = play.ask()
        self.assertEqual(got.age, 35)
        self.assertNotIn(b"age", got.fields)

    def test_section_4_unsafe_methods_are_written_through(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=600")
        play.ask()
        for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"M-SEARCH"):
            self.assertIsNotNone(play.ask(method=method).reached)

    def test_section_4_the_most_recent_is_used(self) -> None:
        older = stored(b"Cache-Control: max-age=60", b"Date: " + date(-20), variant=b"")
        newer = stored(b"Cache-Control: max-age=60", b"Date: " + date(-10), age=9)
        for order in ([older, newer], [newer, older]):
            self.assertIs(select(order, request().fields), newer)
        undated = stored(b"Cache-Control: max-age=60", age=1)
        self.assertIs(select([newer, undated], request().fields), undated)

    def test_section_4_1_selecting_fields_match(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=60", b"Vary: Foo, bar")
        play.ask(b"Foo: 1", b"Bar: a")
        self.assertTrue(play.ask(b"Bar: a", b"Foo: 1", b"Other: 2").is_hit)
        for lines in ((), (b"Foo: 1",), (b"Bar: a",), (b"Foo: 2", b"Bar: a")):
            got = play.ask(*lines)
            self.assertFalse(got.is_hit, lines)
            self.assertIn(b"fwd=vary-miss", got.cache_status)
        # All of them are variants now.
        self.assertTrue(play.ask(b"Foo: 2", b"Bar: a").is_hit)
        self.assertTrue(play.ask(b"Foo: 1", b"Bar: a").is_hit)

    def test_section_4_1_absent_matches_absent_alone(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=60", b"Vary: Foo")
        play.ask()
        self.assertTrue(play.ask().is_hit)
        self.assertFalse(play.ask(b"Foo:").is_hit)

    def test_section_4_1_star_never_matches(self) -> None:
        for value in (b"*", b"*, *", b", *", b"*, Foo", b"Foo, *", b"Foo Bar"):
            play = Play()
            play.origin(b"Cache-Control: max-age=60", b"Vary: " + value)
            play.ask()
            self.assertFalse(play.ask().is_hit, value)
            assert play.decision is not None
            self.assertEqual(play.decision.reason, "vary")
        play = Play()
        play.origin(b"Cache-Control: max-age=60", b"Vary:", b"Vary: *")
        play.ask()
        self.assertFalse(play.ask().is_hit)

    def test_section_4_1_the_most_recent_vary_counts(self) -> None:
        fields = request(b"Foo: 1").fields
        plain = stored(b"Date: " + date(-20))
        varied = stored(b"Date: " + date(-10), vary=[b"foo"], variant=b"other")
        self.assertIsNone(select([plain, varied], fields))
        newer = stored(b"Date: " + date(-5))
        self.assertIs(select([plain, varied, newer], fields), newer)
        self.assertIsNone(select([], fields))
        self.assertIsNone(select([varied], fields))
        self.assertIs(select([plain], fields), plain)

    def test_section_4_1_an_older_match_comes_before_one_without_vary(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=60", b"Vary: Foo")
        play.ask(b"Foo: 1")
        [[(match, _)]] = play.kept.values()
        fields = request(b"Foo: 1").fields
        plain = stored(b"Date: " + date(1))
        other = stored(b"Date: " + date(2), vary=[b"foo"], variant=b"other")
        self.assertIs(select([match, plain, other], fields), match)
        self.assertIs(select([match, plain], fields), plain)

    def test_section_4_2_fresh_while_lifetime_exceeds_age(self) -> None:
        for age, verdict in ((59.9, Verdict.FRESH), (60, Verdict.VALIDATE), (61, Verdict.VALIDATE)):
            self.assertIs(self.verdict(stored(b"Cache-Control: max-age=60", age=age)), verdict)

    def test_a_clock_that_goes_back(self) -> None:
        use = reuse(stored(b"Cache-Control: max-age=60", age=-500), _plain(), START, RULES)
        self.assertEqual((use.verdict, use.age), (Verdict.FRESH, 0.0))

    def test_rules_are_not_mixed(self) -> None:
        one = stored()
        other = Rules(default_ttl=60)
        self.assertIs(self.verdict(one), Verdict.VALIDATE)
        self.assertIs(self.verdict(one, rules=other), Verdict.FRESH)
        self.assertIs(self.verdict(one), Verdict.VALIDATE)

    def test_a_soft_purge_is_validated_first(self) -> None:
        one = stored(
            b"Cache-Control: max-age=60, stale-while-revalidate=60, stale-if-error=60",
            invalidated=True,
        )
        use = reuse(one, for_request(request(), RULES), START, RULES)
        self.assertEqual((use.verdict, use.until), (Verdict.VALIDATE, 0.0))
        self.assertIs(self.verdict(one, b"Cache-Control: max-stale"), Verdict.VALIDATE)


def _plain():
    return for_request(request(), RULES)


class LifetimeTests(SynchronousTestCase):
    def lifetime(self, *lines: bytes, status: int = 200, rules: Rules = RULES) -> float:
        return Freshness(stored(*lines, status=status), rules).lifetime

    def control(self, value: bytes) -> float:
        return self.lifetime(b"Cache-Control: " + value, b"Expires: " + date(9))

    def test_section_4_2_1_s_maxage_wins(self) -> None:
        for value in (b"max-age=1, s-maxage=60", b"s-maxage=60, max-age=1"):
            self.assertEqual(self.control(value), 60)
        self.assertEqual(
            self.lifetime(b"Cache-Control: max-age=3600", b"Cache-Control: s-maxage=1"), 1
        )
        self.assertEqual(self.control(b"max-age=3600, s-maxage=x"), 0)

    def test_section_4_2_1_max_age_before_expires(self) -> None:
        self.assertEqual(self.control(b"max-age=60"), 60)
        self.assertEqual(self.control(b"max-age=0"), 0)
        self.assertEqual(self.lifetime(b"Cache-Control: max-age=60", b"Expires: 0"), 60)
        self.assertEqual(self.control(b"MaX-aGe=60"), 60)
        self.assertEqual(self.control(b"foobar, max-age=60"), 60)

    def test_section_4_2_1_expires_less_date(self) -> None:
        for after, lifetime in ((-50, 0), (0, 0), (50, 50)):
            line = b"Expires: " + date(after)
            self.assertEqual(self.lifetime(line, b"Date: " + date()), lifetime)
        self.assertEqual(self.lifetime(b"Expires: " + date(300), b"Date: " + date(400)), 0)
        self.assertEqual(self.lifetime(b"Expires: " + date(60), b"Date: " + date(50)), 10)

    def test_section_4_2_1_expires_without_a_valid_date(self) -> None:
        self.assertEqual(self.lifetime(b"Expires: " + date(10)), 10)
        self.assertEqual(self.lifetime(b"Expires: " + date(10), b"Date: foo"), 10)

    def test_section_4_2_1_of_several_the_first(self) -> None:
        self.assertEqual(self.control(b"max-age=1800, max-age=1"), 1800)
        self.assertEqual(self.control(b"max-age=1, max-age=1800"), 1)
        self.assertEqual(self.lifetime(b"Expires: " + date(9), b"Expires: " + date(99)), 9)
        self.assertEqual(self.lifetime(b"Expires: 0", b"Expires: " + date(99)), 0)

    def test_section_4_2_1_invalid_is_stale(self) -> None:
        for value in (
            b"max-age",
            b"max-age=",
            b"max-age=-1",
            b"max-age=1.0",
            b"max-age=a60",
            b"max-age=60a",
            b"max-age='60'",
            b'max-age="60',
            b"max-age =60",
            b"max-age= 60",
            b"max-age=60 61",
            b"max-age=+60",
            b"max-age=0x3c",
            "max-age=\u0660".encode(),
            b'extension="max-age=60", max-age=0',
            b'max-age=0, extension="max-age=60"',
        ):
            self.assertEqual(self.control(value), 0, value)

    def test_section_5_2_both_forms_of_an_argument(self) -> None:
        self.assertEqual(self.control(b'max-age="60"'), 60)
        self.assertEqual(self.control(b'max-age="6\\0"'), 60)

    def test_section_1_2_2_large_numbers(self) -> None:
        for digits in (b"2147483648", b"2147483649", b"99999999999", b"9" * 5000, b"4294967297"):
            self.assertEqual(self.control(b"max-age=" + digits), 2147483648)
        self.assertEqual(self.control(b"max-age=2147483647"), 2147483647)
        self.assertEqual(self.control(b"max-age=003600"), 3600)

    def test_section_4_2_2_heuristics(self) -> None:
        modified = b"Last-Modified: " + date(-1000)
        for status in (200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501):
            self.assertEqual(self.lifetime(modified, status=status), 100, status)
        for status in (201, 202, 302, 400, 403, 500, 502, 503, 504, 599):
            self.assertEqual(self.lifetime(modified, status=status), 0, status)
        self.assertEqual(self.lifetime(modified, b"Cache-Control: public", status=599), 100)
        self.assertEqual(self.lifetime(b"Last-Modified: " + date(-(10**8))), 86400)
        self.assertEqual(self.lifetime(b"Last-Modified: " + date(10)), 0)
        self.assertEqual(self.lifetime(b"Last-Modified: yesterday"), 0)
        self.assertEqual(self.lifetime(modified, rules=Rules(heuristic=0)), 0)

    def test_section_4_2_2_no_heuristic_against_explicit(self) -> None:
        modified = b"Last-Modified: " + date(-1000)
        self.assertEqual(self.lifetime(modified, b"Cache-Control: max-age=0"), 0)
        self.assertEqual(self.lifetime(modified, b"Expires: 0"), 0)
        self.assertEqual(self.lifetime(modified, b"Expires: " + date()), 0)

    def test_section_4_2_expires_in_every_form(self) -> None:
        for value in (
            b"Thu, 18 Aug 2050 02:01:18 GMT",
            b"THU, 18 AUG 2050 02:01:18 gMT",
            b"Thursday, 18-Aug-50 02:01:18 GMT",
            b"Thu Aug  8 02:01:18 2050",
            b"Tue, 19 Jan 2038 14:14:08 GMT",
            b"Sun, 21 Nov 2286 04:46:39 GMT",
            b"Fri, 31 Dec 9999 23:59:60 GMT",
        ):
            self.assertGreater(self.lifetime(b"Expires: " + value), 0, value)

    def test_section_5_3_invalid_expires_is_in_the_past(self) -> None:
        for value in (
            b"0",
            b"-1",
            b"",
            b"never",
            b"3600",
            b"Thu, 18 Aug 2050 02:01:18 UTC",
            b"Thu, 18 Aug 2050 02:01:18 AEST",
            b"Thu, 18 Aug 2050 02:01:18 +0000",
            b"Thu, 18 Aug 50 02:01:18 GMT",
            b"Thu 18 Aug 2050 02:01:18 GMT",
            b"Thu, 18  Aug  2050 02:01:18 GMT",
            b"Thu, 18-Aug-2050 02:01:18 GMT",
            b"Thu, 18 Aug 2050 02.01.18 GMT",
            b"Thu, 18 Aug 2050 2:01:18 GMT",
            b"Thu, 31 Feb 2050 02:01:18 GMT",
            b"Thu, 18 Aug 2050 24:01:18 GMT",
            b"18 Aug 2050 02:01:18 GMT",
        ):
            self.assertEqual(self.lifetime(b"Expires: " + value), 0, value)
            self.assertEqual(self.lifetime(b"Expires: " + value, rules=Rules(default_ttl=9)), 0)

    @given(st.binary(max_size=60).filter(lambda b: b"\r" not in b and b"\n" not in b))
    def test_no_control_is_an_error(self, value: bytes) -> None:
        value = value.translate(None, bytes(range(9)) + bytes(range(10, 32)) + b"\x7f")
        one = self.control(value)
        self.assertTrue(0 <= one <= 2**31)


class AgeTests(SynchronousTestCase):
    def age(self, *lines: bytes, delay: float = 0.0) -> float:
        """The age of a response two seconds after it was stored, as a client sees it."""
        play = Play()
        play.origin(b"Cache-Control: max-age=1000000", *lines, delay=delay)
        play.ask()
        play.wait(2)
        age = play.ask().age
        assert age is not None
        return age

    def test_section_4_2_3_apparent_age(self) -> None:
        self.assertEqual(self.age(b"Date: " + date(-7200)), 7202)

    def test_section_4_2_3_a_date_ahead_makes_nothing_younger(self) -> None:
        self.assertEqual(self.age(b"Date: " + date(7200)), 2)

    def test_section_4_2_3_corrected_age_counts_from_the_request(self) -> None:
        self.assertEqual(self.age(b"Age: 10", delay=5), 17)
        self.assertEqual(self.age(delay=5), 7)

    def test_section_4_2_3_the_larger_one(self) -> None:
        self.assertEqual(self.age(b"Age: 10", b"Date: " + date(-100)), 102)
        self.assertEqual(self.age(b"Age: 100", b"Date: " + date(-10)), 102)

    def test_section_5_1_the_first_value(self) -> None:
        self.assertEqual(self.age(b"Age: 7200, 0"), 7202)
        self.assertEqual(self.age(b"Age: 0, 7200"), 2)
        self.assertEqual(self.age(b"Age: 7200", b"Age: 0"), 7202)
        self.assertEqual(self.age(b"Age: 0", b"Age: 7200"), 2)

    def test_section_5_1_what_is_invalid_is_not_heard(self) -> None:
        for value in (b"abc", b"-7200", b"7200.0", b"", b"7200;foo=bar", b"1 2", b"+1"):
            self.assertEqual(self.age(b"Age: " + value), 2, value)

    def test_section_1_2_2_an_age_that_overflows(self) -> None:
        for value in (b"2147483647", b"2147483648", b"2147483649", b"9" * 4999):
            play = Play()
            play.origin(b"Cache-Control: max-age=3600", b"Age: " + value)
            play.ask()
            self.assertFalse(play.ask().is_hit, value)

    def test_rfc_9110_section_6_6_1_a_date_is_recorded(self) -> None:
        for lines in ((), (b"Date: foo",)):
            play = Play()
            play.origin(b"Cache-Control: max-age=60", *lines, dated=False)
            play.ask()
            play.wait(9)
            self.assertEqual(play.ask().fields.all(b"date"), (date(),))

    def test_rfc_9110_section_6_6_1_the_date_is_not_changed(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=60", b"Date: " + date(-3), b"Date: " + date(-1))
        play.ask()
        self.assertEqual(play.ask().fields.all(b"date"), (date(-3),))


class RequestDirectiveTests(SynchronousTestCase):
    """Section 5.2.1."""

    def verdict(self, control: bytes, *lines: bytes, age: float = 10.0, **given: object) -> Verdict:
        said = lines or (b"Cache-Control: max-age=60",)
        demand = for_request(request(b"Cache-Control: " + control), RULES)
        return reuse(stored(*said, age=age, **given), demand, START, RULES).verdict

    def test_section_5_2_1_1_max_age(self) -> None:
        for seconds, verdict in ((0, "VALIDATE"), (9, "VALIDATE"), (10, "FRESH"), (99, "FRESH")):
            self.assertEqual(self.verdict(b"max-age=%d" % seconds).name, verdict)
        self.assertEqual(self.verdict(b"max-age=0", age=0.0).name, "VALIDATE")
        self.assertEqual(self.verdict(b"max-age=99", age=70).name, "VALIDATE")
        self.assertEqual(self.verdict(b"max-age=x").name, "FRESH")

    def test_section_5_2_1_1_with_max_stale(self) -> None:
        self.assertEqual(self.verdict(b"max-age=5, max-stale=10").name, "STALE")
        self.assertEqual(self.verdict(b"max-age=5, max-stale=1").name, "VALIDATE")

    def test_section_5_2_1_2_max_stale(self) -> None:
        self.assertEqual(self.verdict(b"max-stale=20", age=70).name, "STALE")
        self.assertEqual(self.verdict(b"max-stale=5", age=70).name, "VALIDATE")
        self.assertEqual(self.verdict(b"max-stale", age=10**6).name, "STALE")
        self.assertEqual(self.verdict(b"max-stale=x", age=70).name, "VALIDATE")
        self.assertEqual(self.verdict(b"max-stale", age=10).name, "FRESH")

    def test_section_5_2_1_2_max_stale_against_the_response(self) -> None:
        for control in (b"must-revalidate", b"proxy-revalidate", b"no-cache", b"s-maxage=60"):
            line = b"Cache-Control: max-age=60, " + control
            self.assertEqual(self.verdict(b"max-stale", line, age=70).name, "VALIDATE", control)
        # What was never meant to be fresh is no client's to have.
        self.assertEqual(self.verdict(b"max-stale", b"Cache-Control: max-age=0").name, "VALIDATE")

    def test_section_5_2_1_3_min_fresh(self) -> None:
        for seconds, verdict in ((50, "FRESH"), (51, "VALIDATE"), (2000, "VALIDATE")):
            self.assertEqual(self.verdict(b"min-fresh=%d" % seconds).name, verdict)

    def test_section_5_2_1_4_no_cache(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=60", b'ETag: "a"')
        play.ask()
        got = play.ask(b"Cache-Control: no-cache")
        assert got.reached is not None
        self.assertEqual(got.reached.fields.all(b"if-none-match"), (b'"a"',))
        self.assertEqual(got.cache_status, b"txrproxy; fwd=request; fwd-status=304")
        self.assertEqual((got.status, got.body), (200, b"0123456789"))

    def test_section_5_2_1_5_no_store_goes_past(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=60")
        play.ask()
        self.assertIn(b"fwd=request", play.ask(b"Cache-Control: no-store").cache_status)

    def test_section_5_2_1_7_only_if_cached(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=60")
        asked = b"Cache-Control: only-if-cached"
        got = play.ask(asked)
        self.assertEqual((got.status, got.reached), (504, None))
        play.ask()
        self.assertEqual(play.ask(asked).status, 200)
        play.wait(70)
        self.assertEqual(play.ask(asked).status, 504)
        self.assertEqual(play.ask(asked + b", max-stale").status, 200)

    def test_section_5_4_pragma(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=60")
        play.ask()
        self.assertFalse(play.ask(b"Pragma: no-cache").is_hit)
        self.assertTrue(play.ask(b"Pragma: foo, no-store").is_hit)
        self.assertTrue(play.ask(b"Pragma: no-cache", b"Cache-Control: max-age=99").is_hit)

    def test_clients_may_have_no_say(self) -> None:
        play = Play(obey_requests=False)
        play.origin(b"Cache-Control: max-age=60")
        play.ask()
        for value in (b"no-cache", b"no-store", b"max-age=0", b"min-fresh=100"):
            self.assertTrue(play.ask(b"Cache-Control: " + value).is_hit)
        self.assertTrue(play.ask(b"Pragma: no-cache").is_hit)
        self.assertEqual(play.ask(b"Cache-Control: only-if-cached", target=b"/b").status, 200)

    def test_rfc_8246_immutable(self) -> None:
        line = b"Cache-Control: max-age=60, immutable"
        for control in (b"max-age=0", b"min-fresh=100"):
            self.assertEqual(self.verdict(control, line).name, "FRESH")
            self.assertEqual(self.verdict(control, line, age=70).name, "VALIDATE")
        self.assertEqual(self.verdict(b"no-cache", line).name, "VALIDATE")


class ResponseDirectiveTests(SynchronousTestCase):
    """Section 5.2.2."""

    def test_section_5_2_2_4_no_cache_is_validated_first(self) -> None:
        for value in (b"no-cache", b"No-CaChE", b"max-age=60, no-cache", b'no-cache=""'):
            play = Play()
            play.origin(b"Cache-Control: " + value, b"Expires: " + date(60), b'ETag: "a"')
            play.ask()
            got = play.ask()
            self.assertEqual(got.cache_status, b"txrproxy; fwd=stale; fwd-status=304")
            self.assertEqual((got.status, got.body), (200, b"0123456789"))

    def test_section_5_2_2_4_and_7_qualified(self) -> None:
        for name in (b"no-cache", b"private"):
            for value in (name + b'="A, b"', name + b"=A, " + name + b'="b"'):
                play = Play()
                play.origin(b"Cache-Control: max-age=60, " + value, b"A: 1", b"B: 2", b"C: 3")
                self.assertIn(b"a", play.ask().fields)
                got = play.ask()
                self.assertTrue(got.is_hit, value)
                self.assertEqual(got.fields.all(b"c"), (b"3",))
                self.assertNotIn(b"a", got.fields)
                self.assertNotIn(b"b", got.fields)

    def test_section_5_2_2_4_and_7_qualified_by_what_all_depends_on(self) -> None:
        for name in (b"no-cache", b"private"):
            for listed in (b"vary", b"a, Content-Encoding", b"b c"):
                play = Play()
                play.origin(b'Cache-Control: max-age=60, %b="%b"' % (name, listed))
                play.ask()
                self.assertFalse(play.ask().is_hit, listed)

    def test_section_5_2_2_4_the_stricter_form_counts(self) -> None:
        play = Play()
        play.origin(b'Cache-Control: max-age=60, no-cache="a", no-cache')
        play.ask()
        self.assertFalse(play.ask().is_hit)

    def test_section_5_2_2_2_must_revalidate(self) -> None:
        for control in (b"must-revalidate", b"proxy-revalidate"):
            play = Play(stale_if_error=600, stale_while_revalidate=600)
            play.origin(
                b"Cache-Control: max-age=2, stale-if-error=600, stale-while-revalidate=600, "
                + control
            )
            play.ask()
            self.assertTrue(play.ask().is_hit)
            play.wait(3)
            play.fails()
            self.assertEqual(play.ask().status, 502)

    def test_section_5_2_2_10_s_maxage(self) -> None:
        play = Play(stale_if_error=600, stale_while_revalidate=600)
        play.origin(b"Cache-Control: max-age=600, s-maxage=2")
        play.ask()
        play.wait(3)
        play.fails()
        self.assertEqual(play.ask().status, 502)

    def test_section_5_2_3_an_extension_modifies_s_maxage(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: s-maxage=2, stale-while-revalidate=600, stale-if-error=600")
        play.ask()
        play.wait(3)
        self.assertTrue(play.ask().revalidates)

    def test_section_5_2_3_unknown_directives(self) -> None:
        play = Play()
        play.origin(b'Cache-Control: community=UCI, @, =, , max-age=60, x="\\"')
        play.ask()
        self.assertTrue(play.ask().is_hit)


class StaleTests(SynchronousTestCase):
    """Section 4.2.4 and RFC 5861."""

    def test_section_4_2_4_not_without_leave(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=2")
        play.ask()
        play.wait(3)
        play.fails()
        self.assertEqual(play.ask().status, 502)

    def test_rfc_5861_section_3(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=1, stale-while-revalidate=4", b'ETag: "a"')
        play.ask()
        play.wait(3)
        got = play.ask()
        self.assertEqual((got.revalidates, got.cache_status), (True, b"txrproxy; hit; ttl=-2"))
        # A client that asks for fresh ones gets none.
        self.assertFalse(play.ask(b"Cache-Control: max-age=100").is_hit)

    def test_rfc_5861_section_3_the_window_ends(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=1, stale-while-revalidate=4", b'ETag: "a"')
        play.ask()
        play.wait(5)
        self.assertIn(b"fwd=stale", play.ask().cache_status)

    def test_rfc_5861_section_4(self) -> None:
        for status in (0, 500, 502, 503, 504):
            play = Play()
            play.origin(b"Cache-Control: max-age=1, stale-if-error=10")
            play.ask()
            play.wait(5)
            if status:
                play.origin(status=status)
            else:
                play.fails()
            got = play.ask()
            self.assertEqual((got.status, got.body), (200, b"0123456789"))
            said = b"txrproxy; fwd=stale%b; ttl=-4; detail=stale-if-error"
            self.assertEqual(
                got.cache_status, said % (b"; fwd-status=%d" % status if status else b"")
            )
            play.wait(6)
            self.assertEqual(play.ask().status, status or 502)

    def test_rfc_5861_section_4_other_answers_are_answers(self) -> None:
        for status in (404, 501):
            play = Play()
            play.origin(b"Cache-Control: max-age=1, stale-if-error=10")
            play.ask()
            play.wait(5)
            play.origin(status=status)
            self.assertEqual(play.ask().status, status)

    def test_rfc_5861_section_4_a_client_may_ask_for_it(self) -> None:
        play = Play()
        play.origin(b"Cache-Control: max-age=1")
        play.ask()
        play.wait(5)
        play.fails()
        self.assertEqual(play.ask(b"Cache-Control: stale-if-error=10").status, 200)
        self.assertEqual(play.ask(b"Cache-Control: stale-if-error=2").status, 502)
        self.assertEqual(play.ask(b"Cache-Control: stale-if-error=10, no-cache").status, 502)

    def test_configured_windows(self) -> None:
        play = Play(stale_if_error=10, stale_while_revalidate=5)
        play.origin(b"Cache-Control: max-age=1")
        play.ask()
        play.wait(5)
        self.assertTrue(play.ask().revalidates)
        play.wait(3)
        play.fails()
        self.assertEqual(play.ask().status, 200)

    def test_what_the_response_says_goes_first(self) -> None:
        play = Play(stale_if_error=10, stale_while_revalidate=10)
        play.origin(b"Cache-Control: max-age=1, stale-while-revalidate=0, stale-if-error=0")
        play.ask()
        play.wait(5)
        play.fails()
        self.assertEqual(play.ask().status, 502)

    def test_configured_windows_are_not_for_what_is_never_fresh(self) -> None:
        play = Play(stale_if_error=10, stale_while_revalidate=10)
        play.origin(b"Cache-Control: max-age=0", b'ETag: "a"')
        play.ask()
        play.fails()
        self.assertEqual(play.ask().status, 502)


class TargetedTests(SynchronousTestCase):
    """RFC 9213."""

    def hit(self, *lines: bytes, **rules: object) -> bool:
        play = Play(**rules)
        play.origin(*lines)
        play.ask()
        play.wait(3)
        return play.ask().is_hit

    def test_section_2_2_the_targeted_field_is_the_only_one(self) -> None:
        for value, other in (
            (b"max-age=60", b"Cache-Control: no-store"),
            (b"max-age=60", b"Cache-Control: max-age=1"),
            (b"max-age=60", b"Expires: 0"),
            (b"foobar, max-age=60", b"X: y"),
            (b"max-age=99999999999", b"X: y"),
            (b"max-age=60;p=1;q", b"X: y"),
            (b"no-store=?0, max-age=60", b"X: y"),
        ):
            self.assertTrue(self.hit(b"CDN-Cache-Control: " + value, other), value)
        for value in (b"max-age=0", b"max-age=1", b"private", b"no-cache", b"no-store", b"foo"):
            for other in (b"Cache-Control: max-age=60", b"Expires: " + date(60)):
                self.assertFalse(self.hit(b"CDN-Cache-Control: " + value, other), value)
        self.assertFalse(self.hit(b"CDN-Cache-Control: max-age=3600", b"Age: 7200"))
        self.assertFalse(self.hit(b"CDN-Cache-Control: max-age=-3600"))

    def test_section_2_1_what_is_invalid_is_not_there(self) -> None:
        for value in (
            b"max-age=10000, &&&&&",
            b'max-age="10000"',
            b"max-age=10000.0",
            b"max-age",
            b"max-age =100",
            b"max-age= 100",
            b"MaX-aGe=100",
            b"max-age=100,",
            b"",
        ):
            line = b"CDN-Cache-Control: " + value
            self.assertFalse(self.hit(line, b"Cache-Control: no-store"), value)
            self.assertFalse(self.hit(line, b"Cache-Control: max-age=1"), value)
            self.assertTrue(self.hit(line, b"Cache-Control: max-age=60"), value)

    def test_section_2_2_the_order_of_preference(self) -> None:
        own, cdn = b"Txrproxy-Cache-Control: ", b"CDN-Cache-Control: "
        self.assertTrue(self.hit(cdn + b"no-store", own + b"max-age=60"))
        self.assertFalse(self.hit(cdn + b"max-age=60", own + b"no-store"))
        self.assertTrue(self.hit(cdn + b"max-age=60", own + b"no-store,"))
        self.assertFalse(self.hit(cdn + b"max-age=60", own + b"max-age=60", targeted=()))

    def test_qualified(self) -> None:
        for value in (b'"a, b"', b"a"):
            play = Play()
            play.origin(b"CDN-Cache-Control: max-age=60, no-cache=" + value, b"A: 1")
            play.ask()
            self.assertNotIn(b"a", play.ask().fields)
        self.assertFalse(self.hit(b"CDN-Cache-Control: max-age=60, no-cache=(a b)"))
