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

    def limited(self, soft: int, hard: int, wanted: int) -> tuple[str, mock.Mock]:
        with (
            mock.patch.object(resource, "getrlimit", return_value=(soft, hard)),
            mock.patch.object(resource, "setrlimit") as changed,
        ):
            return raise_limit(wanted), changed

    def test_raised(self) -> None:
        warning, changed = self.limited(1024, 5000, 4000)
        self.assertEqual(warning, "")
        changed.assert_called_once_with(resource.RLIMIT_NOFILE, (5000, 5000))

    def test_too_low(self) -> None:
        warning, _ = self.limited(1024, 2048, 4000)
        self.assertIn("at most 2048 files", warning)
        self.assertIn("LimitNOFILE=4000", warning)

    def test_high_enough(self) -> None:
        for hard in (4000, resource.RLIM_INFINITY):
            warning, changed = self.limited(hard, hard, 4000)
            self.assertEqual(warning, "")
            changed.assert_not_called()

    def test_may_not(self) -> None:
        with (
            mock.patch.object(resource, "getrlimit", return_value=(10, 5000)),
            mock.patch.object(resource, "setrlimit", side_effect=ValueError),
        ):
            self.assertIn("at most 10 files", raise_limit(4000))
