from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from txrproxy.config.schema import Config
from txrproxy.config.steps import finish
from txrproxy.config.toml import loads
from txrproxy.service.memory import unpacked, write

ROUTES = "".join(
    f'[[routes]]\nname = "r{n}"\nmatch = {{ path = "/{n}" }}\npool = "p{n}"\n' for n in range(50)
)
POOLS = "".join(f'[pools.p{n}]\nbackends = ["http://127.0.0.1:{n + 1}"]\n' for n in range(50))
TESTS = '[[tests]]\nrequest = { url = "http://a/1" }\nexpect = { route = "r1" }\n'


def packed(config: Config) -> int:
    """A descriptor of a configuration; the caller closes it."""
    fd = os.memfd_create("test")
    with os.fdopen(os.dup(fd), "wb") as file:
        write(config, file)
    return fd


class MemoryTests(SynchronousTestCase):
    def config(self, more: str = POOLS + ROUTES + TESTS) -> Config:
        return loads(MINIMAL + more, base=Path("/somewhere"))

    def test_round_trip(self) -> None:
        """Each reader has its own place in it, and the descriptor may be closed."""
        for config in (self.config(), self.config("")):
            fd = packed(config)
            one, other = unpacked(fd), unpacked(fd)
            os.close(fd)
            next(one)
            self.assertEqual(finish(other), config)
            self.assertEqual(finish(one), config)

    def test_in_pieces(self) -> None:
        """No step has more than a few routes or pools."""
        fd = packed(self.config())
        self.addCleanup(os.close, fd)
        self.assertGreater(sum(1 for _ in unpacked(fd)), 100 / 8)

    def test_behind_something_else(self) -> None:
        fd = os.memfd_create("test")
        with os.fdopen(fd, "wb") as file:
            file.write(b"before")
            write(self.config(), file)
            file.flush()
            self.assertEqual(finish(unpacked(fd, 6)), self.config())
