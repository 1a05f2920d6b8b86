"""Rewritten targets: what is kept of the client's spelling, and what can never come out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.http.test_target import paths
from txrproxy.http.target import BadTarget, normalise_path, parse_target
from txrproxy.routing.rewrite import Rewrite


class RewriteTests(SynchronousTestCase):
    def check(self, rewrite: Rewrite, *table: tuple[bytes, bytes]) -> None:
        for target, expected in table:
            self.assertEqual(rewrite.apply(target), expected, target)

    def test_mount(self) -> None:
        self.assertEqual(Rewrite(b"/app/").mount, b"/app")
        self.assertEqual(Rewrite(b"", b"/v2").mount, b"")

    def test_nothing_to_do(self) -> None:
        rewrite = Rewrite()
        self.assertFalse(rewrite)
        self.check(rewrite, (b"/a/../%2fb?c", b"/a/../%2fb?c"), (b"*", b"*"))
        for some in (Rewrite(b"/a"), Rewrite(b"", b"/a"), Rewrite(replace=(b"a", b""))):
            self.assertTrue(some)
            self.assertEqual(some.apply(b"*"), b"*")

    def test_strip_prefix(self) -> None:
        for rewrite in (Rewrite(b"/app"), Rewrite(b"/app/"), Rewrite(b"/x/../%61pp")):
            self.check(
                rewrite,
                (b"/app", b"/"),
                (b"/app?q", b"/?q"),
                (b"/app?", b"/?"),
                (b"/app/", b"/"),
                (b"/app/x?/app/", b"/x?/app/"),
                (b"/app/a%2fb", b"/a%2fb"),
                (b"/apple", b"/apple"),
                (b"/other/app", b"/other/app"),
                (b"/%61pp/a%40", b"/a@"),
                (b"/app%2fx", b"/x"),
                (b"//app/x", b"/x"),
                (b"/app//x", b"/x"),
                (b"/app/../app/x", b"/x"),
                (b"/app/../x", b"/app/../x"),
                (b"/x/../app/%2e%2e/app", b"/"),
            )

    def test_prefix(self) -> None:
        self.check(Rewrite(b"", b"/v2"), (b"/", b"/v2/"), (b"/a%2f?b", b"/v2/a%2f?b"))
        self.check(Rewrite(b"/v1", b"/v2/"), (b"/v1", b"/v2/"), (b"/v1/a", b"/v2/a"))
        self.check(Rewrite(b"/", b"/"), (b"//a", b"/a"))

    def test_replace(self) -> None:
        self.check(
            Rewrite(replace=(rb"^/u/(\w+)", rb"/users/\1")),
            (b"/u/ann/x%2f?q", b"/users/ann/x%2f?q"),
            (b"/%75/ann", b"/users/ann"),
            (b"/u/../u/ann", b"/users/ann"),
            (b"/u/../ann", b"/u/../ann"),
            (b"/other", b"/other"),
        )
        self.check(Rewrite(replace=(b"a", b"b")), (b"/aXa", b"/bXb"))
        self.check(Rewrite(replace=(b"^/(?P<one>a)(b)?", rb"/\g<one>\2\g<1>\0")), (b"/a", b"/aa/a"))
        self.check(Rewrite(replace=(b"^/old", b"")), (b"/old", b"/"), (b"/old/a", b"/a"))

    def test_result_is_a_safe_path(self) -> None:
        self.check(
            Rewrite(replace=(b"x", b" \r\n\xc3%")),
            (b"/x", b"/%20%0D%0A%C3%25"),
        )
        self.check(Rewrite(replace=(b"^/a", b"")), (b"/a//evil", b"/evil"), (b"/ab", b"/b"))
        self.check(Rewrite(replace=(b"x", b"")), (b"/a/.x./b", b"/b"), (b"/a/x/b", b"/a/b"))
        self.check(Rewrite(replace=(b"%", b"")), (b"/%41", b"/41"))
        error = self.assertRaises(BadTarget, Rewrite(replace=(b"x", b"")).apply, b"/.x./b")
        self.assertEqual(error.reason.name, "target_above_root")

    def test_matches_are_bounded(self) -> None:
        self.check(Rewrite(replace=(b"a", b"b")), (b"/" + b"a" * 70, b"/" + b"b" * 64 + b"a" * 6))

    def test_order(self) -> None:
        rewrite = Rewrite(b"/app", b"/v2", (b"^/a", b"/b"))
        self.check(rewrite, (b"/app/a", b"/v2/b"))

    def test_refused(self) -> None:
        for arguments in (
            (b"app",),
            (b"/a?b",),
            (b"", b"v2"),
            (b"", b"/a#b"),
            (b"/..",),
            (b"", b"", (b"(", b"")),
            (b"", b"", (b"a", b"?b")),
            (b"", b"", (b"a", rb"\1")),
            (b"", b"", (b"(a)", rb"\g<2>")),
            (b"", b"", (b"(a)", rb"\g<name>")),
            (b"", b"", (b"a", rb"\n")),
            (b"", b"", (b"a", rb"\\")),
            (b"", b"", (b"a", b"\\")),
        ):
            self.assertRaises(ValueError, Rewrite, *arguments)

    @settings(deadline=None)
    @given(paths, st.sampled_from([b"", b"?", b"?a=/admin/..", b"?%zz"]))
    def test_properties(self, path: bytes, query: bytes) -> None:
        try:
            target = parse_target(b"GET", path + query)
            normalise_path(target.path)
        except BadTarget:
            return
        for rewrite in (
            Rewrite(b"/admin"),
            Rewrite(b"/a", b"/b"),
            Rewrite(replace=(b"a", b".")),
            Rewrite(b"/a", b"", (b"^/+", b"")),
        ):
            try:
                result = rewrite.apply(target.origin)
            except BadTarget:
                continue
            self.assertRegex(result, rb"\A/(?!/)[!-~]*\Z")
            again = parse_target(b"GET", result)
            self.assertEqual(again.query, target.query)
