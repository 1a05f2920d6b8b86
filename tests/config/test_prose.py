from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import problems
from txrproxy.config.prose import FAULTY, INTRODUCTION


class Examples(SynchronousTestCase):
    def test_the_smallest_whole_one_loads(self) -> None:
        example = re.search(r"```toml\n(version.*?)```", INTRODUCTION, re.DOTALL)
        assert example
        self.assertEqual(problems(example[1]), [])

    def test_the_faulty_one_shows_several_problems(self) -> None:
        self.assertEqual(len(problems(FAULTY)), 3)
