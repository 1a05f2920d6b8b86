"""The tree against a linear scan of the same routes, and the cases that deserve a name."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.routing.match import Conditions, Pattern
from txrproxy.routing.tree import Tree


def no_field(name: bytes) -> Sequence[bytes]:
    return ()


def find(tree: Tree[int], host: bytes, path: bytes, method: bytes = b"GET") -> int | None:
    return tree.find(host, path, method, no_field, None, "")


def numbered(*conditions: Conditions, memo: int = 4096) -> Tree[int]:
    return Tree([(each, number) for number, each in enumerate(conditions)], memo=memo)


GET = frozenset([b"GET"])
HOSTS = [b"a.com", b"b.a.com", b"c.b.a.com", b"x.org", b"com", b"[::1]"]
HOST_PATTERNS = [*HOSTS, b"*.a.com", b"*.b.a.com", b"*.com", b"*"]
PATHS = [b"/", b"/a", b"/a/", b"/a/b", b"/a/bc", b"/ab", b"/b/c/d", b"*"]
PATH_PATTERNS = [*PATHS[:-1], b"/*", b"/a*", b"/a/*", b"/a/b*", b"/b/*", b"/b/c/*"]

conditions = st.builds(
    Conditions,
    st.lists(st.sampled_from(HOST_PATTERNS), max_size=3),
    st.lists(st.sampled_from(PATH_PATTERNS), max_size=3),
    methods=st.sampled_from([None, None, GET, frozenset([b"POST"])]),
    path_regex=st.sampled_from([None, None, "b", "^/a", "/$"]),
)

VALUES = [b"1", b"2"]
FIELDS = st.dictionaries(
    st.sampled_from([b"x", b"y"]), st.lists(st.sampled_from(VALUES), max_size=2), max_size=2
)
QUERIES = st.sampled_from([None, b"", b"q=1", b"q=2&q=1", b"q", b"%71=%31"])
picky = st.builds(
    Conditions,
    st.lists(st.sampled_from(HOST_PATTERNS), max_size=2),
    st.lists(st.sampled_from(PATH_PATTERNS), max_size=2),
    methods=st.sampled_from([None, GET]),
    path_regex=st.sampled_from([None, "b"]),
    fields=st.sampled_from([(), [(b"x", frozenset(VALUES))], [(b"x", frozenset([b"1"]))]]),
    query=st.sampled_from([(), [(b"q", frozenset([b"1"]))]]),
    clients=st.sampled_from([(), [ip_network("10.0.0.0/8")], [ip_network("::1/128")]]),
    client_cert=st.sampled_from([(), (), [("san", frozenset(["DNS:a"]))]]),
)


def fits(pattern: Pattern, text: bytes, ends: bool) -> bool:
    if not pattern.wild:
        return text == pattern.text
    return text.endswith(pattern.text) if ends else text.startswith(pattern.text)


def scan(routes: Sequence[Conditions], host: bytes, path: bytes, method: bytes) -> int | None:
    for number, each in enumerate(routes):
        if (
            any(fits(pattern, host, True) for pattern in each.hosts)
            and any(fits(pattern, path, False) for pattern in each.paths)
            and (each.path_regex is None or each.path_regex.search(path))
            and each.holds(method, no_field, None, "")
        ):
            return number
    return None


class TreeTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.lists(conditions, max_size=8))
    def test_same_as_a_scan(self, routes: list[Conditions]) -> None:
        tree = numbered(*routes, memo=8)
        dead = {number for number, _ in tree.unreachable()}
        for _ in range(2):
            for host in HOSTS:
                for path in PATHS:
                    for method in (b"GET", b"POST"):
                        expected = scan(routes, host, path, method)
                        self.assertEqual(find(tree, host, path, method), expected)
                        self.assertNotIn(expected, dead)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(picky, max_size=6), st.data())
    def test_reasons_agree(self, routes: list[Conditions], data: st.DataObject) -> None:
        """What explains to people is what decides."""
        tree = numbered(*routes)
        fields = data.draw(FIELDS)
        asked = (
            data.draw(st.sampled_from(HOSTS)),
            data.draw(st.sampled_from(PATHS)),
            data.draw(st.sampled_from([b"GET", b"POST"])),
            lambda name: fields.get(name, ()),
            data.draw(QUERIES),
            data.draw(st.sampled_from(["10.0.0.1", "192.0.2.1", "::1", "unknown"])),
        )
        reasons = list(tree.reasons(*asked))
        found = tree.find(*asked)
        refusing = [number for number, refusal in reasons if refusal is not None]
        self.assertEqual(
            [n for n, refusal in reasons if refusal is None], [found][: found is not None]
        )
        self.assertEqual(refusing, list(range(len(routes) if found is None else found)))

    def test_grown_a_route_at_a_time(self) -> None:
        routes = [(Conditions([], [b"/%d" % n]), n) for n in range(10)]
        growing = Tree.grow(iter(routes))
        for _ in routes:
            self.assertIsNone(next(growing))
        end = self.assertRaises(StopIteration, next, growing)
        tree: Tree[int] = end.value
        self.assertEqual(tree.routes, tuple(routes))
        self.assertEqual([find(tree, b"a", b"/%d" % n) for n in (0, 9, 10)], [0, 9, None])

    def test_empty(self) -> None:
        self.assertIsNone(find(numbered(), b"a.com", b"/"))

    def test_file_order_beats_specific_patterns(self) -> None:
        tree = numbered(Conditions(paths=[b"/*"]), Conditions([b"a.com"], [b"/a"]))
        self.assertEqual(find(tree, b"a.com", b"/a"), 0)

    def test_prefixes_of_one_and_of_many_lengths(self) -> None:
        prefixes = (b"/bb*", b"/aa*", b"/b/*", b"/a*", b"/c/d/*")
        tree = numbered(*[Conditions(paths=[prefix]) for prefix in prefixes])
        for path, expected in (
            (b"/aab", 1),
            (b"/ab", 3),
            (b"/bbb", 0),
            (b"/b/b", 2),
            (b"/c/d/", 4),
            (b"/c/d", None),
            (b"/", None),
        ):
            self.assertEqual(find(tree, b"a.com", path), expected, path)

    def test_wildcard_host_takes_one_or_more_labels(self) -> None:
        tree = numbered(Conditions([b"*.a.com"]))
        self.assertEqual(find(tree, b"b.a.com", b"/"), 0)
        self.assertEqual(find(tree, b"c.b.a.com", b"/"), 0)
        self.assertIsNone(find(tree, b"a.com", b"/"))
        self.assertIsNone(find(tree, b"xa.com", b"/"))

    def test_asterisk_is_taken_by_everything_only(self) -> None:
        tree = numbered(Conditions(paths=[b"/"]), Conditions(paths=[b"/*"]))
        self.assertEqual(find(tree, b"a.com", b"*"), 1)

    def test_candidates_end_at_the_first_unconditional(self) -> None:
        tree = numbered(
            Conditions(methods=GET),
            Conditions(paths=[b"/a"], path_regex="b"),
            Conditions(paths=[b"/*"], path_regex="a"),
            Conditions(),
        )
        values = [value for _, value in tree.candidates(b"a.com", b"/a")]
        self.assertEqual(values, [0, 2])
        self.assertEqual(find(tree, b"a.com", b"/a", b"POST"), 2)

    def test_arguments_reach_the_conditions(self) -> None:
        tree = numbered(
            Conditions(fields=[(b"x", frozenset([b"1"]))], query=[(b"q", frozenset([b"2"]))])
        )
        asked = []

        def field(name: bytes) -> list[bytes]:
            asked.append(name)
            return [b"1"]

        self.assertEqual(tree.find(b"a", b"/", b"GET", field, b"q=2", "::1"), 0)
        self.assertEqual(asked, [b"x"])
        self.assertIsNone(tree.find(b"a", b"/", b"GET", field, b"q=3", "::1"))

    def test_values_may_be_anything(self) -> None:
        tree = Tree([(Conditions(paths=[b"/a"]), "a"), (Conditions(), "rest")])
        self.assertEqual(tree.find(b"x", b"/b", b"GET", no_field, None, ""), "rest")


class MemoTests(SynchronousTestCase):
    def test_remembers(self) -> None:
        tree = numbered(Conditions(paths=[b"/a"], methods=GET))
        self.assertIs(tree.candidates(b"h", b"/a"), tree.candidates(b"h", b"/a"))

    def test_bounded_and_keeps_what_is_asked_for(self) -> None:
        tree = numbered(Conditions(methods=GET), memo=8)
        first = tree.candidates(b"h", b"/first")
        for number in range(100):
            tree.candidates(b"h", b"/%d" % number)
            self.assertIs(tree.candidates(b"h", b"/first"), first)
            self.assertLessEqual(len(tree._young) + len(tree._old), 8)
        for number in range(100):
            tree.candidates(b"h", b"/%d" % number)
        self.assertIsNot(tree.candidates(b"h", b"/first"), first)

    def test_long_paths_and_long_lists_are_not_remembered(self) -> None:
        tree = numbered(Conditions(paths=[b"/a*"]), *[Conditions(methods=GET)] * 65)
        self.assertEqual(find(tree, b"h", b"/a" * 300), 0)
        self.assertEqual(find(tree, b"h", b"/b"), 1)
        self.assertEqual((tree._young, tree._old), ({}, {}))


class UnreachableTests(SynchronousTestCase):
    def test_table(self) -> None:
        any_route = Conditions()
        for routes, expected in (
            ([], []),
            ([any_route], []),
            ([any_route, any_route], [(1, 0)]),
            ([any_route, Conditions([b"a"], [b"/a"], methods=GET)], [(1, 0)]),
            ([Conditions(methods=GET), any_route], []),
            ([Conditions(path_regex="/"), any_route], []),
            ([Conditions(paths=[b"/a/*"]), Conditions(paths=[b"/a/b", b"/a/c*"])], [(1, 0)]),
            ([Conditions(paths=[b"/a/*"]), Conditions(paths=[b"/a/b", b"/b"])], []),
            ([Conditions(paths=[b"/a/*"]), Conditions(paths=[b"/a*"])], []),
            ([Conditions(paths=[b"/a"]), Conditions(paths=[b"/a*"])], []),
            ([Conditions([b"*.a"]), Conditions([b"b.a", b"*.c.a"])], [(1, 0)]),
            ([Conditions([b"*.a"]), Conditions([b"*.a"])], [(1, 0)]),
            ([Conditions([b"*.a"]), Conditions([b"a"])], []),
            ([Conditions([b"b.a"]), Conditions([b"*.a"])], []),
            ([Conditions([b"a"]), any_route], []),
            ([Conditions([b"a"]), Conditions([b"b"]), Conditions([b"a", b"b"])], [(2, 1)]),
            ([any_route, any_route, Conditions([b"a"])], [(1, 0), (2, 0)]),
        ):
            self.assertEqual(numbered(*routes).unreachable(), expected)
