"""The store of a response cache: what is kept, where, and for how long; not whether it may be used.

::

    find ─▶ memory ─▶ page cache ─▶ a thread         what is there, for the policy to judge
    fill ─▶ pieces ─▶ the owner's thread ─▶ a file    and into memory at once, if it is small
    refresh, purge                                    on both

The loop's side is this class and what it is made of: ``memory``, ``reading``, ``writing``. The
other side is the :class:`~txrproxy.cache.owner.Owner`, which runs in one thread of this process, or
of the main one: what lies between is a :mod:`~txrproxy.cache.link`. Whatever is asked of the owner
is a message; answers come back on the loop. A hit asks nothing.

A purge takes effect here when it is called, or when the owner tells of it: until the owner has done
it, what a file says is held against the purges that are under way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from twisted.logger import Logger

from txrproxy.cache.disk import Folder
from txrproxy.cache.heads import with_list
from txrproxy.cache.index import Record
from txrproxy.cache.jobs import Jobs, Runs
from txrproxy.cache.link import Links, Local, Remote, Trusted
from txrproxy.cache.owner import Owner
from txrproxy.cache.purge import Purge, Purged, Purges
from txrproxy.cache.reading import INLINE, Copy, Found, Reader, Variant
from txrproxy.cache.renewal import Renewals
from txrproxy.cache.stored import Stored
from txrproxy.cache.taking import Taking
from txrproxy.cache.tier import Tier, Varied
from txrproxy.cache.writing import Fill, Published, Writer
from txrproxy.http.fields import Fields

_logger = Logger()

FLUSH = 5.0  # seconds between two notes of what was used
READERS = 4  # threads that wait for a disk
_USED = 16384  # responses in one note


class Pending:
    """The type of :data:`PENDING`."""

    def __repr__(self) -> str:
        return "PENDING"


PENDING = Pending()
"""What :meth:`Store.find` returns when the answer takes time."""


class Store:
    """One cache. All methods are called on the loop, and none of them waits.

    :param path: its folder.
    :param max_size: bytes on disk. ``max_object``: bytes of the largest body. ``memory``: bytes of
        the tier in memory.
    :param clock: the reactor, or another ``IReactorTime``.
    :param deliver: ``reactor.callFromThread``.
    :param links: to the main process, if that is to own the folder; otherwise this store does.
    """

    def __init__(
        self,
        path: str,
        *,
        max_size: int,
        max_object: int,
        memory: int,
        clock: Any,
        deliver: Callable[..., object],
        name: str = "cache",
        links: Links | None = None,
        owner_thread: Runs | None = None,
        reader_threads: Runs | None = None,
    ) -> None:
        self.name = name
        self.purges = Purges()
        self.memory = Tier(memory)
        self.link: Local | Remote
        if links is None:
            owner = Owner(Folder(path), max_size, name)
            threads = owner_thread or Jobs(deliver, name=f"{name}-owner", idle=owner.step)
            self.link = Local(owner, threads)
        else:
            threads = owner_thread or Jobs(deliver, name=f"{name}-writer")
            self.link = links.link(path, max_size, name, threads)
            self.link.store = self
            self.link.purges = self.purges
            self.memory.limit = 0  # until it is known that purges will be told
        self.folder = self.link.folder
        self._memory_limit = memory
        self._clock = clock
        self._reader_threads = reader_threads or Jobs(deliver, READERS, f"{name}-reader")
        self._reader = Reader(self.folder, self._reader_threads, self._damaged)
        self.writer = Writer(
            self.link,
            self.purges,
            clock.seconds,
            max_object,
            self._committed,
            self._published,
        )
        self._recall = self.memory.get
        self._changes = 0  # of what is stored: what was read before one is not remembered after it
        self._purging: list[tuple[int, Purge]] = []  # with their numbers
        self._renewals = Renewals()
        self._used: set[Stored] = set()
        self._call: Any = None
        self._taking: Taking | None = None

    @property
    def owner(self) -> Owner:
        """The owner of the folder, if it is this process's."""
        assert isinstance(self.link, Local)
        return self.link.owner

    # Beginning and end.

    def open(
        self, done: Callable[[], None] | None = None, owned: Callable[[], None] | None = None
    ) -> None:
        """Take the folder; ``done`` is called when it is taken, or can not be had for now.

        ``owned`` is called when it is taken, be it later: the time for ``control.listen``.
        Responses can be found before that. A folder that another process owns, or that can not be
        written to, is tried again from time to time.
        """
        self._call = self._clock.callLater(FLUSH, self._flush)
        if isinstance(self.link, Remote):
            self.link.attach(done or _nothing)
            return

        self._taking = Taking(
            lambda opened: self.link.ask(opened, "open"),
            self._clock,
            self.name,
            done or _nothing,
            owned or _nothing,
        )
        self._taking.start()

    def close(self) -> None:
        """Wait for what is being written, and let go of the folder. Blocks.

        For a store that owns it; see :meth:`finish`.
        """
        self._stop()
        self.link.ask(None, "close")
        self.link.threads.close()
        self._reader_threads.close()

    def finish(self, done: Callable[[], object], patient: bool = False) -> None:
        """Store nothing more, let go of the folder when that is possible, and tell ``done``.

        Waits for what is whole to be written; what is not whole is given up, unless ``patient``.
        Responses can still be found after it, from files alone.
        """
        if self._taking is not None:
            self._taking.stop()  # what is asked of an owner is not begun any more

        def closed(*_: object) -> None:
            self.link.threads.end()
            self._reader_threads.end()
            done()

        def idle() -> None:
            self._stop()
            self.memory.limit = 0
            self.memory.clear()
            if isinstance(self.link, Remote):
                self.link.detach(closed)
            else:
                self.link.ask(closed, "close")

        self.writer.close(idle, patient)

    def forget(self) -> None:
        """It will not be opened."""
        if isinstance(self.link, Remote):
            self.link.forget()

    def give_up(self) -> None:
        """:meth:`finish` with no patience left."""
        self.writer.close(_nothing, False)

    def _stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._taking is not None:
            self._taking.stop()
        self._note()

    # What an owner in another process tells.

    def begin_purge(self, purge: Purge) -> None:
        """Nothing that matches is found from now on."""
        self.purges.add(purge)
        self._changes += 1
        self._purging.append((self.purges.number, purge))
        self.memory.purge(purge)

    def end_purge(self, purge: Purge) -> None:
        """Its files are gone, or marked."""
        self._purging.remove(next(each for each in self._purging if each[1] is purge))
        self._changes += 1

    def changed(self, owned: bool) -> None:
        """Whether the folder has its owner. Without it nobody tells of purges."""
        self._changes += 1
        self.memory.limit = self._memory_limit if owned else 0
        if not owned:
            self.memory.clear()

    def figures(self) -> dict[str, Any]:
        """Of this process alone, for :meth:`stats`."""
        memory = self.memory
        return {
            "memory_objects": len(memory),
            "memory_size": memory.size,
            "memory_limit": memory.limit,
            "given_up": self.writer.given_up,
            "storing": self.writer.storing,
        }

    # Other processes that fill the same folder.

    @property
    def shared(self) -> bool:
        """Whether there are any."""
        return self.link.shared

    def lease(
        self,
        key: bytes,
        looked: float,
        wait: bool,
        done: Callable[[int | None], object],
        url: bytes = b"",
    ) -> None:
        """:meth:`~txrproxy.cache.link.Remote.lease`, in a store that is shared."""
        assert isinstance(self.link, Remote)
        self.link.lease(key, looked, wait, done, url)

    def unlease(self, number: int) -> None:
        """A lease is needed no longer."""
        if isinstance(self.link, Remote):
            self.link.unlease(number)

    def find_again(
        self,
        copy: Copy,
        key: bytes,
        fields: Fields,
        variant: Variant,
        found: Callable[[Copy | None], None],
    ) -> Copy | Pending | None:
        """:meth:`find` on the disk, where another process may have put what is newer."""
        self.memory.forget(copy.stored)
        copy.close()
        return self.find(key, fields, variant, found)

    @property
    def threads(self) -> Runs:
        """Those that wait for a disk."""
        return self._reader_threads

    # Reading.

    def find(
        self,
        key: bytes,
        fields: Fields,
        variant: Variant,
        found: Callable[[Copy | None], None],
    ) -> Copy | Pending | None:
        """The response stored for a request with this key and these fields, of whatever age.

        :data:`PENDING` when that takes time; ``found`` is called with it later then.
        """
        item = self._recall(key)
        if item is not None:
            copy = self.memory.select(item, fields, variant) if isinstance(item, Varied) else item
            if copy is not None:
                self._used.add(copy.stored)
                return copy
        try:
            result = self._reader.find(key, fields, variant)
        except BlockingIOError:
            return self._find_later(key, fields, variant, found)
        return self._take(key, result, True, self.purges.number)

    def _find_later(
        self,
        key: bytes,
        fields: Fields,
        variant: Variant,
        found: Callable[[Copy | None], None],
    ) -> Pending:
        changes, mark = self._changes, self.purges.number

        def read(result: Found | None, error: BaseException | None) -> None:
            if error is not None or result is None:
                _logger.error("{name}: reading failed: {error!r}", name=self.name, error=error)
                found(None)
            else:
                found(self._take(key, result, changes == self._changes, mark))

        self._reader_threads.submit(lambda: self._reader.wait(key, fields, variant), read)
        return PENDING

    def _take(self, key: bytes, result: Found, remember: bool, mark: int) -> Copy | None:
        """What was read, as it is by now, and into memory with it; ``mark`` is when it was read."""
        copy, lists = result
        if copy is not None:
            stored = self._as_it_is(copy.stored, mark)
            if stored is None:
                copy.close()
                return None
            copy.stored = stored
            remember = remember and not self._purging
        if remember:
            if lists:
                self.memory.put_lists(key, lists)
            if copy is not None and copy.body is not None:
                self.memory.keep(copy)
        if copy is not None:
            self._used.add(copy.stored)
            if len(self._used) > _USED:
                self._note()
        return copy

    def _as_it_is(self, stored: Stored, mark: int) -> Stored | None:
        """What validations and purges that are not done yet make of what a file says."""
        if not self._renewals.under_way and mark == self.purges.number and not self._purging:
            return stored
        renewal = self._renewals.last_of(stored)
        begun = 0
        if renewal is not None:
            stored = renewal.new
            begun = mark = renewal.mark
        known = self.purges.since(mark, stored)
        for number, purge in self._purging:
            if known is None:
                break
            if begun < number <= mark and purge.matches(known):
                known = known.replaced(invalidated=True) if purge.soft else None
        return known

    def _damaged(self, name: str, fd: int, error: BaseException) -> None:
        """From any thread."""
        inode = os.fstat(fd).st_ino

        def discarded(_: None, __: BaseException | None) -> None:
            _logger.warn(
                "{name}: a damaged file was removed: {file}: {error}",
                name=self.name,
                file=name,
                error=error,
            )

        self.link.ask(discarded, "discard", name, inode)

    def used(self, stored: Stored) -> None:
        """A response was used without :meth:`find`: it is to stay."""
        self._used.add(stored)

    def _settled(self, stored: Stored) -> None:
        """The disk has it now: what was read from there before is not to stay in memory.

        What is newer does: it was validated while this one was being written.
        """
        self._changes += 1
        copy = self.memory.recalled(stored)
        if copy is None or copy.stored is stored:
            return
        if copy.stored.responded <= stored.responded:
            self.memory.forget(stored)

    # Writing.

    def mark(self) -> int:
        """The present, for :meth:`fill` and :meth:`refresh`: take it before asking the origin."""
        return self.purges.number

    def touched(self, mark: int, key: bytes, url: bytes) -> bool:
        """Whether a purge since a :meth:`mark` may be meant for what is on its way."""
        return self.purges.may_touch(mark, key, url)

    def fill(
        self, stored: Stored, expected: int | None = None, since: int | None = None
    ) -> Fill | None:
        """Begin to store a response whose body will come; ``expected`` is its length if known.

        None if it can not be stored. ``since`` is the :meth:`mark` of when it was asked for.
        """
        return self.writer.fill(stored, expected, self.purges.number if since is None else since)

    def _committed(self, stored: Stored, body: bytes) -> None:
        self._changes += 1
        if len(body) <= INLINE:
            if stored.vary:
                lists = self.memory.lists(stored.key)
                self.memory.put_lists(stored.key, with_list(lists, stored.vary))
            self.memory.keep(Copy(stored, body))

    def _published(self, published: Published) -> None:
        entry, state, lists = published
        stored = entry.stored
        if lists:
            self.memory.put_lists(stored.key, lists)
        if stored.length > INLINE:
            self._reader.trust((state.st_ino, state.st_mtime_ns, entry.checksum), stored.length)
        self._settled(stored)

    def refresh(self, copy: Copy, stored: Stored, since: int | None = None) -> Stored | None:
        """Say ``stored`` of the body of ``copy`` from now on, as after a validation.

        Returns what it is after the purges since the :meth:`mark` ``since``; None if it was purged.
        """
        known = self.purges.since(self.purges.number if since is None else since, stored)
        if known is None:
            return None
        old = copy.stored
        while old.renewed is not None:  # another validation began with the same, and ended before
            old = old.renewed
        old.renewed = known
        if copy.body is not None:
            there = self.memory.recalled(old)
            if there is None or there.stored is old:
                self.memory.keep(Copy(known, copy.body))
        self._changes += 1
        renewal = self._renewals.begin(old, known, self.purges.number)

        def updated(result: Trusted | None, error: object) -> None:
            self._renewals.end(renewal)
            if isinstance(error, OSError):
                self.writer.turn_off(error)
            if result is not None and known.length > INLINE:
                self._reader.trust(result, known.length)
            self._settled(known)

        self.link.update(old, known, updated)
        return known

    # Purging.

    def purge(
        self, purge: Purge, done: Callable[[Purged | None, BaseException | None], None]
    ) -> None:
        """Take out, or mark as stale, what matches; ``done`` is told how much that was.

        Nothing that matches is found from now on. An error (``NotReady`` where another process owns
        the folder, OSError) means that files may have stayed, and can be found again.
        """
        self.begin_purge(purge)

        def purged(result: Purged | None, error: BaseException | None) -> None:
            self.end_purge(purge)
            done(result, error)

        self.link.ask(purged, "purge", purge)

    def preview(
        self, purge: Purge, done: Callable[[Purged | None, BaseException | None], None]
    ) -> None:
        """Tell ``done`` what a purge would take."""
        self.link.ask(done, "preview", purge)

    # Questions.

    def listing(
        self,
        prefix: bytes,
        limit: int,
        done: Callable[[Sequence[Record] | None, BaseException | None], None],
    ) -> None:
        """Tell ``done`` of responses whose URL begins with ``prefix``, in their order."""
        self.link.ask(done, "listing", prefix, limit)

    def show(
        self,
        url: bytes,
        done: Callable[[Sequence[Stored] | None, BaseException | None], None],
    ) -> None:
        """Tell ``done`` of every response stored for a URL."""
        self.link.ask(done, "show", url)

    def stats(self, done: Callable[[dict[str, Any] | None, BaseException | None], None]) -> None:
        """Tell ``done`` the figures of the cache by name, of all processes."""

        def counted(figures: dict[str, Any] | None, error: BaseException | None) -> None:
            if figures is not None and isinstance(self.link, Local):
                figures.update(self.figures())
            done(figures, error)

        self.link.ask(counted, "stats")

    # What was used.

    def _flush(self) -> None:
        self._call = self._clock.callLater(FLUSH, self._flush)
        self._note()

    def _note(self) -> None:
        used, self._used = self._used, set()
        if used:
            self.link.used(used, _ignore)


def _ignore(_: object, __: object) -> None:
    """Uses that can not be noted are no harm."""


def _nothing() -> None:
    """Nobody waits."""
