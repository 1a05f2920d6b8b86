"""Long work beside traffic: a little of it at a time, and between two pieces the loop serves.

A slice is short beside what a request takes, and the pauses are longer than the slices, so that
requests that come meanwhile wait no longer than they do in a busy moment. What is made is meant to
live long: the collector is told to leave it, slice by slice, for to look through all of it once
would take as long as a hundred slices.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred

from txrproxy.config.steps import Steps

SLICE = 0.000_25  # seconds of work, and what is left of the step then
PAUSE = 0.001  # seconds, or as long as the loop takes for what has come meanwhile

T = TypeVar("T")


def in_slices(steps: Steps[T], reactor: Any) -> Deferred[T]:
    """Take all steps; fires with their result. Cancelled, it closes them."""
    return _Slices(steps, reactor).done


class _Slices(Generic[T]):
    def __init__(self, steps: Steps[T], reactor: Any) -> None:
        self.done: Deferred[T] = Deferred(self._cancel)
        self._steps = steps
        self._reactor = reactor
        self._call = reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        steps, seconds = self._steps, self._reactor.seconds
        gc.collect(0)  # what requests have left: frozen, it would never be found
        try:
            until = seconds() + SLICE
            next(steps)
            while seconds() < until:
                next(steps)
        except StopIteration as end:
            gc.freeze()
            self.done.callback(end.value)
        except Exception:
            self.done.errback()
        else:
            gc.freeze()
            self._call = self._reactor.callLater(PAUSE, self._turn)

    def _cancel(self, _: object) -> None:
        self._call.cancel()
        self._steps.close()


@contextmanager
def uncollected() -> Iterator[None]:
    """Make much at once that will live: to look through it again and again is most of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
