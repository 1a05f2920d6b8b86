from __future__ import annotations

import resource
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from txrproxy.config.toml import loads
from txrproxy.service.files import BESIDES, needed, raise_limit


class FilesTests(SynchronousTestCase):
    def test_needed(self) -> None:
        """Each connection may need one to a backend, which is kept afterwards."""
        config = loads(MINIMAL + "[server]\nmax_connections = 1000\n")
        self.assertEqual(needed(config, 3), 2000 + 64 + 3 + BESIDES)

    def limited(
        self, soft: int, hard: int, wanted: int, most: int | None = None
    ) -> tuple[str, list[int]]:
        """What is said, and the limits that were asked for; no more than ``most`` can be had."""
        asked = []

        def change(_: int, limits: tuple[int, int]) -> None:
            asked.append(limits[0])
            self.assertEqual(limits[0], limits[1])
            if limits[0] > (hard if most is None else most):
                raise ValueError("not allowed to raise maximum limit")

        with (
            mock.patch.object(resource, "getrlimit", return_value=(soft, hard)),
            mock.patch.object(resource, "setrlimit", change),
        ):
            return raise_limit(wanted), asked

    def test_raised(self) -> None:
        self.assertEqual(self.limited(1024, 5000, 4000), ("", [5000]))

    def test_raised_beyond_the_hard_limit(self) -> None:
        self.assertEqual(self.limited(1024, 2048, 4000, most=9999), ("", [4000]))

    def test_too_low(self) -> None:
        warning, asked = self.limited(1024, 2048, 4000)
        self.assertEqual(asked, [4000, 2048])
        self.assertIn("at most 2048 files", warning)
        self.assertIn("LimitNOFILE=4000", warning)

    def test_high_enough(self) -> None:
        for hard in (4000, resource.RLIM_INFINITY):
            self.assertEqual(self.limited(hard, hard, 4000), ("", []))

    def test_may_not(self) -> None:
        warning, _ = self.limited(10, 5000, 4000, most=10)
        self.assertIn("at most 10 files", warning)
