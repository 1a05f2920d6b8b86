"""Timeouts without timers: one queue for each timeout class, one sweeper for all of them.

A connection starts and stops several deadlines for each request, and almost none ever expires. A
``callLater`` for each costs a microsecond and leaves a cancelled entry in the reactor's heap. All
deadlines of one class last equally long, so the order in which they were started is the order in
which they expire: a dict, which keeps insertion order, is the whole data structure. ``start`` is
one insertion at its end, ``stop`` one removal, and the sweep looks at the front until it meets a
deadline that is not due.

The price is precision. A deadline never fires early, and fires at most one sweep late: a quarter of
the shortest timeout known, one second at most, 50 milliseconds at least.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.logger import Logger

T = TypeVar("T")

COARSEST = 1.0  # seconds between two sweeps
FINEST = 0.05

_logger = Logger()


class Queue(Generic[T]):
    """The deadlines of one class; made by :meth:`Deadlines.queue`.

    Items must hash by identity, as objects without ``__eq__`` do. One item holds at most one
    deadline in a queue, and may be in several queues.
    """

    __slots__ = ("_items", "_on_expire", "_owner", "seconds")

    def __init__(self, owner: Deadlines, seconds: float, on_expire: Callable[[T], object]) -> None:
        self.seconds = seconds
        self._on_expire = on_expire
        self._owner = owner
        self._items: dict[T, float] = {}  # item -> when it is due

    def start(self, item: T, now: float) -> None:
        """Expire ``item`` in ``seconds`` from ``now``, in place of its deadline here if it has one.

        ``now`` is the owner's clock as read lately: once for a loop turn is enough.
        """
        items = self._items
        if item in items:
            del items[item]
        items[item] = now + self.seconds
        if self._owner.asleep:
            self._owner.wake()

    def stop(self, item: T) -> None:
        """Forget the deadline of ``item``, if there is one."""
        self._items.pop(item, None)

    def __contains__(self, item: T) -> bool:
        return item in self._items

    def __len__(self) -> int:
        return len(self._items)

    def expire(self, now: float) -> None:
        """Call ``on_expire`` for what is due; it may start and stop deadlines of any queue."""
        items = self._items
        due = []
        # Collected in one pass: taking the front entry of a dict time and again would skip over
        # the entries removed before, each time.
        for item, when in items.items():
            if when > now:
                break
            due.append(item)
        for item in due:
            if items.get(item, now + 1) > now:  # stopped or restarted since
                continue
            del items[item]
            try:
                self._on_expire(item)
            except Exception:
                _logger.failure("Expiring {item!r} failed", item=item)


class Deadlines:
    """The queues of one process, swept by one ``callLater`` while any of them holds an item.

    :param clock: the reactor, or another ``IReactorTime``.
    :param interval: the longest time between two sweeps, in seconds.
    """

    def __init__(self, clock: Any, interval: float = COARSEST) -> None:
        self.asleep = True
        self._clock = clock
        self._interval = interval
        self._queues: dict[tuple[float, Any], Queue[Any]] = {}
        self._call: Any = None

    def queue(self, seconds: float, on_expire: Callable[[T], object]) -> Queue[T]:
        """The queue for this timeout and callback; the same arguments share one.

        :raises ValueError: ``seconds`` is not positive.
        """
        if seconds <= 0:
            raise ValueError(f"a timeout is longer than {seconds} seconds")
        key = (seconds, on_expire)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = Queue(self, seconds, on_expire)
            self._interval = min(self._interval, max(FINEST, seconds / 4))
            if self._call is not None:  # the sweep already planned may be too late for this one
                self.close()
                self.wake()
        return queue

    def wake(self) -> None:
        """Begin to sweep; called by a queue that got its first item."""
        self.asleep = False
        self._call = self._clock.callLater(self._interval, self._sweep)

    def close(self) -> None:
        """Stop sweeping until the next ``start``."""
        self.asleep = True
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _sweep(self) -> None:
        self._call = None
        now = self._clock.seconds()
        for queue in list(self._queues.values()):
            queue.expire(now)
        if self.asleep:  # closed by what was called
            return
        if any(self._queues.values()):
            self.wake()
        else:
            self.asleep = True
