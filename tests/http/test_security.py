from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.http.fields import make_line
from txrproxy.http.forward import ResponseRules, changes
from txrproxy.http.head import parse_response_head
from txrproxy.http.security import security_lines


def names(lines: Any) -> list[bytes]:
    return [line[0] for line in lines]


class SetTests(SynchronousTestCase):
    def test_off(self) -> None:
        self.assertEqual(security_lines("off"), ([], []))

    def test_basic(self) -> None:
        always, over_tls = security_lines("basic")
        self.assertEqual(
            b"".join(line[2] for line in always + over_tls),
            b"X-Content-Type-Options: nosniff\r\n"
            b"Referrer-Policy: strict-origin-when-cross-origin\r\n"
            b"X-Frame-Options: SAMEORIGIN\r\n"
            b"Strict-Transport-Security: max-age=31536000\r\n",
        )

    def test_strict_has_all_of_basic(self) -> None:
        basic, strict = security_lines("basic"), security_lines("strict")
        for lesser, greater in zip(basic, strict, strict=True):
            self.assertLessEqual(set(names(lesser)), set(names(greater)))
        self.assertIn(b"includeSubDomains", strict[1][0][1])


class DefaultTests(SynchronousTestCase):
    """``ResponseRules`` with defaults."""

    def rules(self, **how: Any) -> ResponseRules:
        return ResponseRules((), changes(**how), *security_lines("basic"))

    def test_added_to_own_responses(self) -> None:
        block = self.rules().own([make_line(b"A", b"b")])
        self.assertEqual(
            names(block.lines),
            [b"a", b"x-content-type-options", b"referrer-policy", b"x-frame-options"],
        )
        block = self.rules().secure.own([])
        self.assertEqual(names(block.lines)[-1], b"strict-transport-security")

    def test_what_is_said_already_stays(self) -> None:
        block = self.rules().own([make_line(b"X-Frame-Options", b"DENY")])
        self.assertEqual(names(block.lines).count(b"x-frame-options"), 1)
        self.assertIn(b"DENY", block.block)
        set_ = [(b"X-Frame-Options", b"DENY")]
        self.assertIn(b"DENY", self.rules(set=set_).own([]).block)

    def test_removed_on_purpose(self) -> None:
        block = self.rules(remove=[b"x-frame-options"]).own([])
        self.assertNotIn(b"x-frame-options", names(block.lines))

    def test_without(self) -> None:
        rules = ResponseRules()
        self.assertIs(rules.secure, rules)
        self.assertEqual(rules.own([]).block, b"")

    def test_of_backends(self) -> None:
        rules = self.rules()
        for status, added in ((200, 3), (103, 0), (101, 0)):
            text = b"HTTP/1.1 %d Said\r\nX-Frame-Options: DENY\r\nA: b" % status
            head = parse_response_head(text)
            self.assertEqual(len(rules.block(head).lines), 2 + max(0, added - 1))
            self.assertEqual(len(rules.secure.block(head).lines), 2 + added)
