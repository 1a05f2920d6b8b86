"""Each target of :mod:`tests.fuzz.targets`, with bytes that are nearly right."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.targets import TARGETS, Target

EXAMPLES = 150  # for each target


def almost(target: Target) -> st.SearchStrategy[bytes]:
    """A seed with a few changes, words in a row, or anything at all."""
    word = st.sampled_from(target.words) if target.words else st.nothing()
    scrap = word | st.binary(max_size=4) | st.sampled_from(target.seeds)
    change = st.tuples(st.integers(0, 400), st.integers(0, 6), scrap)

    def changed(seed: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
        for at, count, new in changes:
            start = at % (len(seed) + 1)
            seed = seed[:start] + new + seed[start + count :]
        return seed

    near = st.builds(changed, st.sampled_from(target.seeds), st.lists(change, max_size=4))
    return near | st.lists(scrap, max_size=12).map(b"".join) | st.binary(max_size=60)


class TargetTests(SynchronousTestCase):
    def test_seeds(self) -> None:
        for target in TARGETS.values():
            for seed in target.seeds:
                target.check(seed)


def _test(target: Target) -> Any:
    # The same ones each time: to look for others is the business of `make fuzz`.
    @settings(max_examples=EXAMPLES, derandomize=True)
    @given(almost(target))
    def test(self: TargetTests, data: bytes) -> None:
        target.check(data)

    test.__doc__ = target.check.__doc__
    return test


for _target in TARGETS.values():
    setattr(TargetTests, f"test_{_target.name}", _test(_target))
