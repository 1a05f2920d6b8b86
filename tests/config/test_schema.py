from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config import schema
from txrproxy.config.schema import Config

CLASSES = [kind for kind in vars(schema).values() if attrs.has(kind)]
TABLES = [kind for kind in CLASSES if kind.__module__ == schema.__name__]


class Schema(SynchronousTestCase):
    def test_every_key_is_explained(self) -> None:
        for kind in TABLES:
            self.assertTrue(kind.__doc__, kind)
            field: attrs.Attribute[Any]
            for field in attrs.fields(kind):
                if "hidden" not in field.metadata:
                    self.assertTrue(field.metadata["doc"], (kind, field.name))

    def test_keys_without_a_value_show_an_example(self) -> None:
        for kind in TABLES:
            for field in attrs.fields(attrs.resolve_types(kind)):
                if field.default is attrs.NOTHING:
                    self.assertTrue(field.metadata["example"], (kind, field.name))

    def test_nothing_can_be_changed(self) -> None:
        config = Config(version=1)
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            config.version = 2  # type: ignore[assignment, misc]

    def test_paths_are_relative_to_the_file(self) -> None:
        config = Config(version=1, base=Path("/etc/edge"))
        self.assertEqual(config.resolve("state"), Path("/etc/edge/state"))
        self.assertEqual(config.resolve("/run/state"), Path("/run/state"))
