"""RFC 9111 sections 3.2, 4.3 and 4.4: asking a backend, what its answer changes, and what goes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.cache.play import Got, Play, date, response

CONDITIONS = (b"if-none-match", b"if-modified-since", b"range", b"if-range")


def asked(got: Got) -> dict[bytes, bytes]:
    """The preconditions that reached the origin."""
    assert got.reached is not None
    fields = got.reached.fields
    return {name: b"|".join(fields.all(name)) for name in CONDITIONS if name in fields}


class AskingTests(SynchronousTestCase):
    """Section 4.3.1."""

    def second(self, *lines: bytes, status: int = 200, client: tuple[bytes, ...] = ()) -> Got:
        play = Play()
        play.origin(b"Cache-Control: max-age=2", *lines, status=status)
        play.ask()
        play.wait(3)
        return play.ask(*client)

    def test_section_4_3_1_with_an_entity_tag(self) -> None:
        for tag in (b'"abc"', b'W/"abc"', b'"a,b"', b"abc", b'w/"abc"', b'W\\"abc"', b'"\xfc"'):
            got = self.second(b"ETag: " + tag)
            self.assertEqual(asked(got), {b"if-none-match": tag})
            self.assertIn(b"fwd-status=304", got.cache_status)

    def test_section_4_3_1_with_what_is_no_tag(self) -> None:
        for tag in (b"*", b'"a', b"", b'"a", "b"', b"a b"):
            self.assertEqual(asked(self.second(b"ETag: " + tag)), {}, tag)
        self.assertEqual(asked(self.second(b'ETag: "a"', b'ETag: "b"')), {})

    def test_section_4_3_1_with_a_date(self) -> None:
        modified = date(-3000)
        got = self.second(b"Last-Modified: " + modified)
        self.assertEqual(asked(got), {b"if-modified-since": modified})
        self.assertIn(b"fwd-status=304", got.cache_status)
        self.assertEqual(asked(self.second(b"Last-Modified: today")), {})
        self.assertEqual(asked(self.second(*[b"Last-Modified: " + date(n) for n in (-2, -1)])), {})

    def test_section_4_3_1_with_both(self) -> None:
        got = self.second(b'ETag: "a"', b"Last-Modified: " + date(-9))
        self.assertEqual(asked(got), {b"if-none-match": b'"a"', b"if-modified-since": date(-9)})

    def test_section_4_3_1_only_a_200_can_be_validated(self) -> None:
        self.assertEqual(asked(self.second(b'ETag: "a"', status=404)), {})

    def test_section_4_3_1_ours_take_the_place_of_the_clients(self) -> None:
        client = (
            b'If-None-Match: "x"',
            b"If-Modified-Since: " + date(-1),
            b"Range: bytes=0-1",
            b'If-Range: "x"',
        )
        got = self.second(b'ETag: "a"', client=client)
        self.assertEqual(asked(got), {b"if-none-match": b'"a"'})

    def test_section_4_3_1_without_a_validator_the_clients_go_on(self) -> None:
        got = self.second(client=(b'If-None-Match: "x"',))
        self.assertEqual(asked(got), {b"if-none-match": b'"x"'})

    def test_section_4_3_2_nothing_stored_nothing_evaluated(self) -> None:
        play = Play()
        play.origin(b'ETag: "a"', b"Cache-Control: max-age=60")
        got = play.ask(b'If-None-Match: "a"')
        self.assertEqual((got.status, asked(got)), (304, {b"if-none-match": b'"a"'}))
        self.assertEqual(play.kept, {})

    def test_section_4_3_1_the_tags_of_all_variants(self) -> None:
        play = Play()
        for foo in (b"1", b"2"):
            play.origin(b"Cache-Control: max-age=60", b"Vary: Foo", b'ETag: "%b"' % foo, body=foo)
            play.ask(b"Foo: " + foo)
        got = play.ask(b"Foo: 3")
        self.assertEqual(asked(got), {b"if-none-match": b'"1", "2"'})
        # The origin says which one it would be.
        self.assertEqual((got.status, got.body), (200, b"2"))
        self.assertEqual(got.cache_status, b"txrproxy; fwd=vary-miss; fwd-status=304")

    def test_section_4_3_1_a_date_is_for_the_selected_variant_alone(self) -> None:
        play = Play()
        modified = b"Last-Modified: " + date(-9)
        play.origin(b"Cache-Control: max-age=60", b"Vary: Foo", modified)
        play.ask(b"Foo: 1")
        self.assertEqual(asked(play.ask(b"Foo: 2")), {})
        play.origin(b"Cache-Control: max-age=60", b"Vary: Foo", modified, b'ETag: "3"')
        play.ask(b"Foo: 3")
        play.wait(70)
        self.assertEqual(asked(play.ask(b"Foo: 1")), {b"if-none-match": b'"3"'})


class AnswerTests(SynchronousTestCase):
    """Sections 4.3.3 and 4.3.4."""

    def setUp(self) -> None:
        self.play = Play()
        self.play.origin(b"Cache-Control: max-age=2", b'ETag: "a"', b"X: 1", b"Y: 1")
        self.play.ask()
        self.play.wait(3)

    def test_section_4_3_3_304_is_a_hit_for_the_client(self) -> None:
        got = self.play.ask()
        self.assertEqual((got.status, got.body), (200, b"0123456789"))
        self.assertTrue(self.play.ask().is_hit)

    def test_section_4_3_3_a_full_response_takes_the_place(self) -> None:
        self.play.origin(b"Cache-Control: max-age=2", b'ETag: "b"', body=b"new")
        got = self.play.ask()
        self.assertEqual((got.status, got.body), (200, b"new"))
        self.assertEqual(got.cache_status, b"txrproxy; fwd=stale; stored")
        self.assertEqual(self.play.ask().body, b"new")

    def test_section_4_3_3_an_error_is_passed_on(self) -> None:
        self.play.origin(status=500)
        self.assertEqual(self.play.ask().status, 500)

    def test_section_4_3_2_a_client_that_does_not_have_ours_gets_the_whole(self) -> None:
        got = self.play.ask(b'If-None-Match: "other"')
        self.assertEqual((got.status, got.body), (200, b"0123456789"))

    def test_section_4_3_2_a_client_that_has_ours(self) -> None:
        self.assertEqual(self.play.ask(b'If-None-Match: "a"').status, 304)

    def test_section_4_3_2_a_client_that_has_the_new_one(self) -> None:
        self.play.origin(b"Cache-Control: max-age=2", b'ETag: "b"', body=b"new")
        got = self.play.ask(b'If-None-Match: "b"')
        self.assertEqual((got.status, got.body), (304, b""))
        self.assertEqual(self.play.ask().body, b"new")

    def test_section_3_2_fields_are_updated(self) -> None:
        self.play.origin(
            b"Cache-Control: max-age=60",
            b'ETag: "a"',
            b"X: 2",
            b"X: 3",
            b"Content-Type: text/new",
            b"Content-Length: 3",
            b"Content-Encoding: gzip",
            b"Content-Range: bytes 0-2/3",
            b"Connection: z",
            b"Z: 1",
            b"Age: 7",
        )
        self.play.ask()
        got = self.play.ask()
        self.assertEqual(got.age, 7)
        self.assertEqual(
            {name: got.fields.all(name) for name in {line[0] for line in got.fields.lines}},
            {
                b"cache-control": (b"max-age=60",),
                b"content-length": (b"10",),
                b"content-type": (b"text/new",),
                b"date": (date(3),),
                b"etag": (b'"a"',),
                b"x": (b"2", b"3"),
                b"y": (b"1",),
            },
        )

    def test_section_3_2_the_date_is_new_even_if_not_given(self) -> None:
        self.play.origin(b'ETag: "a"', dated=False)
        self.play.ask()
        self.assertEqual(self.play.ask().fields.all(b"date"), (date(3),))

    def test_section_4_3_4_a_strong_validator_has_to_match(self) -> None:
        seen: list[bytes] = []

        def play(asked):
            seen.append(asked.fields.first(b"if-none-match"))
            made = b'ETag: "other"'
            return (response(made, status=304), b"") if seen[-1] else (response(made), b"new")

        self.play.play = play
        got = self.play.ask()
        self.assertEqual((seen, got.status, got.body), ([b'"a"', b""], 200, b"new"))

    def test_an_update_that_forbids_storing(self) -> None:
        for lines in (
            (b"Cache-Control: no-store",),
            (b"Cache-Control: private",),
            (b"Vary: Foo",),
            (b"Vary: *",),
        ):
            self.setUp()
            self.play.origin(b'ETag: "a"', *lines)
            self.assertEqual(self.play.ask().status, 200)
            self.assertEqual(list(self.play.kept.values()), [[]], lines)

    def test_an_update_that_must_be_understood(self) -> None:
        self.play.origin(b'ETag: "a"', b"Cache-Control: no-store, must-understand, max-age=9")
        self.play.ask()
        self.assertTrue(self.play.ask().is_hit)

    def test_an_update_withholds_fields(self) -> None:
        self.play.origin(b'ETag: "a"', b'Cache-Control: max-age=9, no-cache="x"', b"X: 2")
        self.assertNotIn(b"x", self.play.ask().fields)
        self.assertNotIn(b"x", self.play.ask().fields)

    def test_a_cookie_of_an_update_is_for_one(self) -> None:
        for said, kept in ((b"max-age=60", ()), (b"max-age=60, public", (b"s=1",))):
            self.setUp()
            self.play.origin(b'ETag: "a"', b"Set-Cookie: s=1", b"Cache-Control: " + said)
            self.play.ask()
            self.assertEqual(self.play.ask().fields.all(b"set-cookie"), kept)

    def test_section_3_5_what_is_said_to_one_updates_nothing_for_all(self) -> None:
        alice = b"Authorization: Bearer alice"
        for said, shared in (
            (b"Cache-Control: max-age=60", False),
            (b"X: y", False),
            (b"Cache-Control: no-store", False),
            (b"Cache-Control: max-age=60, public", True),
            (b"Cache-Control: s-maxage=60", True),
        ):
            self.setUp()
            self.play.origin(b'ETag: "a"', b"X-Account: alice", said)
            got = self.play.ask(alice)
            self.assertEqual((got.body, got.fields.all(b"x-account")), (b"0123456789", (b"alice",)))
            [[(stored, _)]] = self.play.kept.values()
            self.assertEqual(b"x-account" in stored.head.fields, shared, said)
            self.assertEqual(self.play.ask().is_hit, shared, said)

    def test_section_4_1_what_is_said_to_an_alias_updates_nothing(self) -> None:
        self.play = Play()
        lines = (b'ETag: "a"', b"Vary: Accept-Language")
        self.play.origin(*lines, b"Cache-Control: max-age=2")
        self.play.ask()
        self.play.wait(3)
        self.play.origin(*lines, b"Cache-Control: max-age=60", b"Content-Language: xx")
        got = self.play.ask(b"Accept_Language: xx")
        self.assertEqual(got.fields.all(b"content-language"), (b"xx",))
        [[(stored, _)]] = self.play.kept.values()
        self.assertNotIn(b"content-language", stored.head.fields)

    def test_an_update_of_tags(self) -> None:
        self.play.origin(b'ETag: "a"', b"Cache-Tag: new")
        self.play.ask()
        [[(stored, _)]] = self.play.kept.values()
        self.assertEqual(stored.tags, (b"new",))


class HeadTests(SynchronousTestCase):
    """Section 4.3.5."""

    def setUp(self) -> None:
        self.play = Play()
        self.stored = (b"Cache-Control: max-age=2", b'ETag: "a"', b"X: 1")
        self.play.origin(*self.stored)
        self.play.ask()
        self.play.wait(3)

    def head(self, *lines: bytes, status: int = 200, asked: tuple[bytes, ...] = ()) -> Got:
        # The origin answers whole, as one that knows no preconditions.
        self.play.play = lambda _: (response(*lines, status=status), b"")
        got = self.play.ask(*asked, method=b"HEAD")
        self.play.origin(*self.stored, body=b"new")
        return got

    def test_section_4_3_5_a_matching_one_updates(self) -> None:
        for lines in (
            (b'ETag: "a"', b"X: 2", b"Cache-Control: max-age=9"),
            (b"X: 2", b"Cache-Control: max-age=9"),
            (b"X: 2", b"Cache-Control: max-age=9", b"Content-Length: 10"),
        ):
            self.setUp()
            self.head(*lines)
            got = self.play.ask()
            self.assertTrue(got.is_hit, lines)
            self.assertEqual((got.fields.all(b"x"), got.body), ((b"2",), b"0123456789"))

    def test_section_3_5_what_is_said_to_one_updates_nothing_for_all(self) -> None:
        for said, stored in ((b"max-age=9", (b"1",)), (b"max-age=9, public", (b"2",))):
            self.setUp()
            self.head(b"X: 2", b"Cache-Control: " + said, asked=(b"Authorization: Bearer alice",))
            [[(kept, _)]] = self.play.kept.values()
            self.assertEqual(kept.head.fields.all(b"x"), stored)

    def test_section_4_3_5_another_one_makes_it_stale(self) -> None:
        for line in (b'ETag: "b"', b"Content-Length: 11", b"Last-Modified: " + date(-5)):
            self.setUp()
            self.head(line, b"Cache-Control: max-age=9")
            got = self.play.ask()
            self.assertFalse(got.is_hit, line)

    def test_section_4_3_5_other_answers_say_nothing(self) -> None:
        self.head(b"Cache-Control: max-age=9", status=410)
        got = self.play.ask()
        self.assertIn(b"fwd=stale", got.cache_status)

    def test_section_4_3_5_a_purged_one_stays_purged(self) -> None:
        [[(stored, body)]] = self.play.kept.values()
        self.play.kept[stored.key] = [(stored.replaced(invalidated=True), body)]
        self.head(b"Cache-Control: max-age=9")
        self.assertFalse(self.play.ask().is_hit)


class InvalidationTests(SynchronousTestCase):
    """Section 4.4."""

    def gone(self, *lines: bytes, method: bytes = b"POST", status: int = 200) -> list[bytes]:
        """Which of a few stored responses a request makes useless."""
        play = Play()
        play.origin(b"Cache-Control: max-age=600")
        targets = (b"/a", b"/b", b"/c")
        for target in targets:
            play.ask(target=target)
        play.ask(host=b"other", target=b"/b")
        play.origin(*lines, status=status)
        play.ask(b"Content-Length: 3", method=method)
        play.origin(b"Cache-Control: max-age=600")
        assert play.ask(host=b"other", target=b"/b").is_hit
        return [target for target in targets if not play.ask(target=target).is_hit]

    def test_section_4_4_the_target_of_unsafe_methods(self) -> None:
        for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"M-SEARCH", b"UNKNOWN"):
            for status in (200, 201, 204, 303, 399):
                self.assertEqual(self.gone(method=method, status=status), [b"/a"], method)

    def test_section_4_4_not_by_safe_methods(self) -> None:
        for method in (b"OPTIONS", b"TRACE", b"PROPFIND"):
            self.assertEqual(self.gone(method=method), [])

    def test_section_4_4_not_by_errors(self) -> None:
        for status in (400, 404, 500, 503):
            self.assertEqual(self.gone(status=status), [])

    def test_section_4_4_locations_of_the_same_origin(self) -> None:
        for name in (b"Location: ", b"Content-Location: "):
            for reference in (b"/b", b"b", b"http://h/b", b"HTTP://H:80/b#x", b"//h/b", b"./b"):
                self.assertEqual(self.gone(name + reference), [b"/a", b"/b"], reference)
        self.assertEqual(self.gone(b"Location: /b", b"Content-Location: /c"), [b"/a", b"/b", b"/c"])
        self.assertEqual(self.gone(b"Location: /a"), [b"/a"])

    def test_section_4_4_never_of_another_origin(self) -> None:
        for reference in (
            b"http://other/b",
            b"https://h/b",
            b"http://h:8080/b",
            b"//other/b",
            b"http://user@h/b",
            b"http://[/b",
            b"javascript:b",
            b"http:",
            b"http://h.other/b",
        ):
            self.assertEqual(self.gone(b"Location: " + reference), [b"/a"], reference)

    def test_section_4_4_a_location_without_a_path(self) -> None:
        self.assertEqual(self.gone(b"Location: http://h?b"), [b"/a"])

    def test_section_4_4_whatever_the_request_says(self) -> None:
        for line in (b"Cache-Control: no-store", b"Authorization: x", b"X-Original-URL: /z"):
            play = Play()
            play.origin(b"Cache-Control: max-age=600")
            play.ask()
            play.ask(line, method=b"POST")
            self.assertFalse(play.ask().is_hit, line)


class ClientTests(SynchronousTestCase):
    """Section 4.3.2: the client's preconditions against a fresh stored response."""

    def setUp(self) -> None:
        self.play = Play()

    def status(self, *client: bytes, stored: tuple[bytes, ...], status: int = 200) -> int:
        play = Play()
        play.origin(b"Cache-Control: max-age=600", *stored, status=status)
        play.ask()
        got = play.ask(*client)
        self.assertTrue(got.is_hit, client)
        return got.status

    def test_section_4_3_2_if_none_match(self) -> None:
        for own, given in (
            (b'"a"', b'"a"'),
            (b'W/"a"', b'W/"a"'),
            (b'W/"a"', b'"a"'),
            (b'"a"', b'W/"a"'),
            (b'"a"', b'"a", "b", "c"'),
            (b'"a"', b'"b","a","c"'),
            (b'"a"', b'"b", "c", "a"'),
            (b'"a,b"', b'"c", "a,b"'),
            (b'"a"', b"*"),
            (b"a", b"a"),
            (b'w/"a"', b'w/"a"'),
            (b'W"a"', b'W"a"'),
            (b'"\xfc"', b'"\xfc"'),
        ):
            self.assertEqual(
                self.status(b"If-None-Match: " + given, stored=(b"ETag: " + own,)), 304
            )
        for own, given in (
            (b'"a"', b'"b"'),
            (b'"a"', b"a"),
            (b"a", b'"a"'),
            (b'"a"', b'"A"'),
            (b'"a"', b'"b, "a"'),
            (b'"a"', b'"b", *'),
            (b"*", b'"a"'),
        ):
            self.assertEqual(
                self.status(b"If-None-Match: " + given, stored=(b"ETag: " + own,)), 200
            )
        self.assertEqual(self.status(b'If-None-Match: "a"', stored=()), 200)
        self.assertEqual(self.status(b"If-None-Match: *", stored=()), 304)
        two = (b'If-None-Match: "b"', b'If-None-Match: "a"')
        self.assertEqual(self.status(*two, stored=(b'ETag: "a"',)), 304)

    def test_section_4_3_2_if_none_match_goes_before_the_date(self) -> None:
        stored = (b'ETag: "a"', b"Last-Modified: " + date(-50))
        early, late = (b"If-Modified-Since: " + date(n) for n in (-100, -10))
        self.assertEqual(self.status(b'If-None-Match: "a"', early, stored=stored), 304)
        self.assertEqual(self.status(b'If-None-Match: "b"', late, stored=stored), 200)

    def test_section_4_3_2_if_modified_since(self) -> None:
        stored = (b"Last-Modified: " + date(-3000),)
        for after, status in ((-3000, 304), (-2000, 304), (-3001, 200)):
            line = b"If-Modified-Since: " + date(after)
            self.assertEqual(self.status(line, stored=stored), status)
        for value in (b"Thursday, 18-Aug-50 02:01:18 GMT", b"Thu Aug 18 02:01:18 2050"):
            self.assertEqual(self.status(b"If-Modified-Since: " + value, stored=stored), 304)
        for value in (b"0", b"soon", b"Thu, 18 Aug 2050 02:01:18 UTC"):
            self.assertEqual(self.status(b"If-Modified-Since: " + value, stored=stored), 200)
        twice = (b"If-Modified-Since: " + date(),) * 2
        self.assertEqual(self.status(*twice, stored=stored), 200)

    def test_section_4_3_2_if_modified_since_without_last_modified(self) -> None:
        for after, status in ((0, 304), (10, 304), (-10, 200)):
            line = b"If-Modified-Since: " + date(after)
            self.assertEqual(self.status(line, stored=()), status)

    def test_section_4_3_2_only_for_a_200(self) -> None:
        stored = (b'ETag: "a"',)
        self.assertEqual(self.status(b'If-None-Match: "a"', stored=stored, status=404), 404)

    def test_section_4_3_2_those_of_an_origin_are_not_evaluated(self) -> None:
        for line in (b'If-Match: "b"', b"If-Unmodified-Since: " + date(-100)):
            play = Play()
            play.origin(b"Cache-Control: max-age=600", b'ETag: "a"')
            play.ask()
            got = play.ask(line)
            assert got.reached is not None
            self.assertIn(b"fwd=request", got.cache_status)

    def test_rfc_9110_section_15_4_5_what_a_304_has(self) -> None:
        play = Play()
        play.origin(
            b"Cache-Control: max-age=600",
            b'ETag: "a"',
            b"Last-Modified: " + date(-50),
            b"Expires: " + date(50),
            b"Content-Location: /b",
            b"Content-Type: text/html",
            b"Content-Encoding: gzip",
            b"Content-Security-Policy: x",
            b"Vary: Foo",
            b"X: 1",
        )
        play.ask()
        for _ in range(2):
            got = play.ask(b'If-None-Match: "a"')
            self.assertEqual(
                {line[0] for line in got.fields.lines},
                {
                    b"cache-control",
                    b"content-location",
                    b"content-security-policy",
                    b"date",
                    b"etag",
                    b"expires",
                    b"vary",
                    b"x",
                },
            )
            self.assertEqual(got.body, b"")
        # Without a tag, the date is the only thing that a client could go by.
        play.origin(b"Cache-Control: max-age=600", b"Last-Modified: " + date(-50))
        play.ask(target=b"/b")
        got = play.ask(b"If-Modified-Since: " + date(), target=b"/b")
        self.assertEqual((got.status, got.fields.all(b"last-modified")), (304, (date(-50),)))
