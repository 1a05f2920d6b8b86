"""What a 304 speaks of; the conversations are in ``test_rfc9111_validation``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.cache.play import START, date, response
from txrproxy.cache.policy import Rules, conditional_lines, validated
from txrproxy.cache.stored import Stored

RULES = Rules()


def stored(*lines: bytes, status: int = 200, at: float = 0.0) -> Stored:
    head = response(*lines, status=status)
    return Stored(b"k", b"u", head, 5, START + at, START + at)


class IdentifiedTests(SynchronousTestCase):
    """RFC 9111 section 4.3.4."""

    def found(self, candidates: list[Stored], *lines: bytes) -> list[int]:
        at = START + 100
        renewed = validated(candidates, response(*lines, status=304), RULES, at, at)
        return [
            [c.head.status_line for c in candidates].index(r.stored.head.status_line)
            for r in renewed
        ]

    def named(self, *all_lines: tuple[bytes, ...]) -> list[Stored]:
        made = []
        for number, lines in enumerate(all_lines):
            one = stored(*lines, at=number)
            one.head.status_line = b"HTTP/1.1 200 %d\r\n" % number
            made.append(one)
        return made

    def test_all_with_the_strong_validator(self) -> None:
        several = self.named((b'ETag: "a"',), (b'ETag: "b"',), (b'ETag: "a"', b"X: y"))
        self.assertEqual(self.found(several, b'ETag: "a"'), [0, 2])
        self.assertEqual(self.found(several, b'ETag: "c"'), [])

    def test_the_most_recent_with_the_weak_one(self) -> None:
        several = self.named((b'ETag: W/"a"',), (b'ETag: W/"a"', b"X: y"), (b'ETag: W/"b"',))
        self.assertEqual(self.found(several, b'ETag: W/"a"'), [1])
        self.assertEqual(self.found(several, b'ETag: W/"c"'), [])
        several = self.named((b"Last-Modified: " + date(-9),), (b"Last-Modified: " + date(-8),))
        self.assertEqual(self.found(several, b"Last-Modified: " + date(-9)), [0])
        self.assertEqual(self.found(several, b"Last-Modified: " + date(-7)), [])

    def test_without_one_it_can_only_be_the_only_one(self) -> None:
        self.assertEqual(self.found(self.named(())), [0])
        self.assertEqual(self.found(self.named((b'ETag: "a"',))), [0])
        self.assertEqual(self.found(self.named((), ())), [])

    def test_a_stored_error_is_not_meant(self) -> None:
        at = START + 1
        gone = stored(b'ETag: "a"', status=404)
        self.assertEqual(validated([gone], response(b'ETag: "a"', status=304), RULES, at, at), [])

    def test_tags_asked_about_are_bounded(self) -> None:
        lines = conditional_lines(None, [stored(b'ETag: "%d"' % n) for n in range(99)])
        self.assertEqual(
            [(line[0], line[1].count(b",")) for line in lines], [(b"if-none-match", 15)]
        )

    def test_nothing_to_ask_about(self) -> None:
        self.assertEqual(conditional_lines(None), [])
