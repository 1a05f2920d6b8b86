from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.explain.samples import edge
from txrproxy.explain.listeners import choose
from txrproxy.explain.rehearsal import Ask


class ListenerTests(SynchronousTestCase):
    def chosen(self, url: str, listener: str | None = None) -> list[tuple[str, str, str]]:
        ask = Ask("GET", url, listener=listener)
        return [(one.name, one.why_not, one.note) for one in choose(edge(), ask)]

    def test_scheme_and_port(self) -> None:
        self.assertEqual(self.chosen("http://a/"), [("http", "", "")])
        self.assertEqual(
            self.chosen("http://a:8080/"),
            [
                ("http", "is at 0.0.0.0:80, not on port 8080", ""),
                ("https", "speaks https, not http", ""),
                ("inside", "", ""),
            ],
        )

    def test_behind_another_port(self) -> None:
        found = self.chosen("https://a/")
        self.assertEqual(found[-1], ("https", "", "none has port 443"))
        self.assertEqual(
            found[:-1],
            [
                ("http", "speaks http, not https", ""),
                ("inside", "speaks http, not https", ""),
            ],
        )

    def test_asked_for(self) -> None:
        self.assertEqual(self.chosen("https://a/", "inside"), [("inside", "", "as asked for")])
        with self.assertRaisesRegex(ValueError, "there are: http, https, inside"):
            self.chosen("https://a/", "other")

    def test_none(self) -> None:
        config = edge()
        plain = {name: one for name, one in config.listeners.items() if one.tls is None}
        found = choose(attrs.evolve(config, listeners=plain), Ask("GET", "https://a/"))
        self.assertEqual((found[-1].name, found[-1].note), ("http", "none speaks https"))
        with self.assertRaisesRegex(ValueError, "no listeners"):
            choose(attrs.evolve(config, listeners={}), Ask("GET", "https://a/"))
