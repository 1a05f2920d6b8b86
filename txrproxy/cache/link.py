"""From a store to the owner of its folder, which may be in another process.

::

    Local    the owner is here, in a thread of its own, which also writes the files
    Remote   the owner is in the main process (:mod:`txrproxy.cache.keeper`); here is a thread that
             writes files, and tells it when one is finished

Either way a file is written to a temporary name first, and it is the owner who gives it its place:
in one thread, in the order in which it was told of fills and purges, which makes a purge final.

What a process writes needs room, which only the owner can give. It gives some more than was asked
for, so that most files need no message for that. A small fill is then one message and its answer.

Messages have the topic ``cache``: ``path`` says which folder, ``link`` which of the stores of a
process, ``do`` what to do. :class:`Links` hands those that arrive to their stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from txrproxy.cache.disk import Folder
from txrproxy.cache.entry import Vary
from txrproxy.cache.file import File, Room
from txrproxy.cache.heads import names_of
from txrproxy.cache.jobs import Done, Runs
from txrproxy.cache.owner import NoRoom, NotReady, Owner
from txrproxy.cache.purge import Purge, Purges
from txrproxy.cache.stored import Stored
from txrproxy.cache.wire import pack, unpack, unpack_error
from txrproxy.cache.writing import Published

TOPIC = "cache"
ANSWER = 30.0  # seconds that a thread waits for room
LATER = 0.1  # seconds for which an owner that is not ready is not asked again
LEASE = 6.0  # seconds for an answer to who may ask the origin; the owner says something before

Trusted = tuple[int, int, int]
"""Inode, time of writing in ns and checksum of a body that is as it was written."""


class Local:
    """The owner is in this process, and ``threads`` is its one thread."""

    shared = False

    def __init__(self, owner: Owner, threads: Runs) -> None:
        self.owner = owner
        self.name = owner.name
        self.folder = owner.folder
        self.room: Room = owner
        self.threads = threads

    @property
    def ready(self) -> bool:
        return self.owner.ready

    def ask(self, done: Done | None, what: str, *arguments: Any) -> None:
        """Call a method of the owner; ``done`` is told what comes of it. From any thread."""
        self.threads.submit(lambda: getattr(self.owner, what)(*arguments), done)

    def finish(self, file: File, stored: Stored, pieces: list[bytes], done: Done) -> None:
        """Write the rest of a file, and publish it: ``done`` gets a ``Published``."""

        def finish() -> Published:
            entry, state = file.complete(stored, pieces)
            try:
                path, reserved = file.hand_over()
                lists = self.owner.publish(path, stored, entry.size, reserved)
                file.published()
                return entry, state, lists
            finally:
                file.drop()

        self.threads.submit(finish, done)

    def update(self, old: Stored, new: Stored, done: Done) -> None:
        """``Owner.update``; ``done`` gets what is Trusted of the file, or None."""
        self.threads.submit(lambda: update(self.owner, old, new), done)

    def used(self, responses: Iterable[Stored], done: Done) -> None:
        self.threads.submit(lambda: self.owner.used(names_of(responses)), done)


def update(owner: Owner, old: Stored, new: Stored) -> Trusted | None:
    """``Owner.update``, with what is trusted of the file after it."""
    result = owner.update(old, new)
    if result is None:
        return None
    entry, state = result
    return state.st_ino, state.st_mtime_ns, entry.checksum


class Channel(Protocol):
    """To the main process; as :class:`txrproxy.transport.channel.Channel`."""

    def register(self, topic: str, callback: Callable[[dict[str, Any]], Any]) -> None: ...

    def send(self, topic: str, body: dict[str, Any]) -> None: ...

    def call(self, topic: str, body: dict[str, Any]) -> Deferred[dict[str, Any]]: ...


class Attached(Protocol):
    """A store, as its owner sees it."""

    def begin_purge(self, purge: Purge) -> None:
        """Nothing that matches is found from now on."""

    def end_purge(self, purge: Purge) -> None:
        """The files are gone."""

    def changed(self, owned: bool) -> None:
        """Whether the owner has the folder: without it, purges are not told."""

    def figures(self) -> dict[str, Any]:
        """What this process knows of the cache, for ``stats``."""


class Quota:
    """Room for files that the owner has granted to this process; for the thread that writes.

    ``ask(size)`` gets more of it and blocks, ``give_back(size)`` does not.
    """

    def __init__(
        self, folder: Folder, ask: Callable[[int], int], give_back: Callable[[int], None]
    ) -> None:
        self.folder = folder
        self.free = 0  # bytes
        self._ask = ask
        self._give_back = give_back
        self._most = 0  # ever granted at once

    def reserve(self, size: int) -> None:
        """As the owner's."""
        if self.free < size:
            self.folder.prepare()
            granted = self._ask(size - self.free)
            self._most = max(self._most, granted)
            self.free += granted
        self.free -= size

    def release(self, size: int) -> None:
        """As the owner's; most of it is kept for the next file."""
        self.free += size
        surplus = self.free - self._most
        if surplus > 0:
            self.free -= surplus
            self._give_back(surplus)


class Remote:
    """The owner is in the main process. On the loop, but for what says otherwise.

    :param folder: this process's view of it.
    :param threads: one thread, which writes.
    """

    def __init__(
        self,
        links: Links,
        number: int,
        folder: Folder,
        max_size: int,
        name: str,
        threads: Runs,
    ) -> None:
        self.name = name
        self.folder = folder
        self.threads = threads
        self.store: Attached
        self.purges: Purges
        self.owned = False
        self.peers = 0  # stores on this folder, ours included
        self._links = links
        self._number = number
        self._max_size = max_size
        self._quota = Quota(folder, self._room, self._give_back)
        self.room: Room = self._quota
        self._not_before = 0.0
        self._purging: dict[int, Purge] = {}

    @property
    def ready(self) -> bool:
        return self.owned and self._links.seconds() >= self._not_before

    @property
    def shared(self) -> bool:
        """Whether others fill the same folder."""
        return self.peers > 1

    # Beginning and end.

    def attach(self, done: Callable[[], object]) -> None:
        """Begin to work for its owner; ``done`` is called when it knows, or can not be told."""

        def attached(answer: Any, error: BaseException | None) -> None:
            if error is None:
                for number, purge in answer["purging"]:
                    self._begin(number, unpack(purge))
                self.change(answer)
            done()

        self._call(attached, "attach", size=self._max_size, name=self.name)

    def detach(self, done: Callable[[], object]) -> None:
        """Let go of what this process has of the folder, then tell the owner, and ``done``."""
        self.owned = False
        self.peers = 0

        def left(_: Any, __: BaseException | None) -> None:
            self._links.forget(self._number)
            self._send("detach")
            done()

        self.threads.submit(self.folder.close, left)

    def forget(self) -> None:
        """It will not attach."""
        self._links.forget(self._number)

    def change(self, state: dict[str, Any]) -> None:
        """The owner has the folder or has not, and others come and go."""
        self.peers = state["peers"]
        if self.owned != state["owned"]:
            self.owned = state["owned"]
            self.store.changed(self.owned)

    # What the owner says.

    def told(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """A message for this store."""
        what = body["do"]
        if what == "purge":
            self._begin(body["id"], unpack(body["purge"]))
        elif what == "purged":
            purge = self._purging.pop(body["id"], None)
            if purge is not None:
                self.store.end_purge(purge)
        elif what == "state":
            self.change(body)
        elif what == "figures":
            return self.store.figures()
        return None

    def _begin(self, number: int, purge: Purge) -> None:
        self._purging[number] = purge
        self.store.begin_purge(purge)

    # What it is asked.

    def _body(self, what: str, more: dict[str, Any]) -> dict[str, Any]:
        return {"path": self.folder.path, "link": self._number, "do": what, **more}

    def _send(self, what: str, **more: Any) -> None:
        self._links.channel.send(TOPIC, self._body(what, more))

    def _call(self, done: Done | None, what: str, **more: Any) -> None:
        def answered(answer: dict[str, Any]) -> None:
            error = unpack_error(answer) if "error" in answer else None
            if isinstance(error, NotReady):
                self._not_before = self._links.seconds() + LATER
            if done is not None:
                done(answer, error)

        def lost(_: Any) -> None:
            if done is not None:
                done(None, NotReady())

        self._links.channel.call(TOPIC, self._body(what, more)).addCallbacks(answered, lost)

    def ask(self, done: Done | None, what: str, *arguments: Any) -> None:
        """Let a method of the owner be called; ``done`` is told what comes of it. From any thread.

        The owner's main methods are :data:`txrproxy.cache.keeper.METHODS`.
        """

        def answered(answer: Any, error: BaseException | None) -> None:
            if done is not None:
                done(None if error else unpack(answer["result"]), error)

        self._links.deliver(
            lambda: self._call(answered, what, arguments=[pack(a) for a in arguments])
        )

    def finish(self, file: File, stored: Stored, pieces: list[bytes], done: Done) -> None:
        """Write the rest of a file, and let it be published: ``done`` gets a ``Published``."""
        number = self.purges.number

        def completed(result: Any, error: BaseException | None) -> None:
            if error is None and self.purges.since(number, stored) is not stored:
                error = NoRoom()  # purged on its way
            if error is not None:
                self.threads.submit(file.drop)
                done(None, error)
                return
            path, reserved = file.hand_over()

            def published(answer: Any, error: BaseException | None) -> None:
                if error is not None:
                    self.threads.submit(file.drop)
                    done(None, error)
                else:
                    file.published()
                    lists: tuple[Vary, ...] = unpack(answer["result"])
                    done((*result, lists), None)

            self._call(published, "adopt", file=path, reserved=reserved)

        self.threads.submit(lambda: file.complete(stored, pieces), completed)

    def update(self, old: Stored, new: Stored, done: Done) -> None:
        """As :meth:`Local.update`."""

        def updated(answer: Any, error: BaseException | None) -> None:
            done(None if error else unpack(answer["result"]), error)

        self._call(updated, "update", old=pack(old), new=pack(new))

    def used(self, responses: Iterable[Stored], done: Done) -> None:
        def named(names: list[str], _: BaseException | None) -> None:
            self._call(done, "used", names=names)

        self.threads.submit(lambda: list(names_of(responses)), named)

    # Room, asked for by the thread that writes.

    def _room(self, size: int) -> int:
        answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._links.deliver(
            lambda: self._call(lambda *told: answers.put(told), "reserve", size=size)
        )
        try:
            answer, error = answers.get(timeout=ANSWER)
        except Empty:
            raise NotReady from None
        if error is not None:
            raise error
        return int(answer["granted"])

    def _give_back(self, size: int) -> None:
        self._links.deliver(lambda: self._send("release", size=size))

    # Who may ask the origin.

    def lease(
        self,
        key: bytes,
        looked: float,
        wait: bool,
        done: Callable[[int | None], object],
        url: bytes = b"",
    ) -> None:
        """May this process ask the origin for a key, that it did not find when it ``looked``?

        ``done`` is told the number of the lease, for :meth:`unlease`; 0 for going on without one;
        None for looking again: another process has asked. Without ``wait``, it may still ask.
        """

        def answered(answer: dict[str, Any]) -> None:
            done(answer.get("lease", 0) if not answer.get("again") else None)

        names = {"key": key.decode("latin-1"), "url": url.decode("latin-1")}
        call = self._links.channel.call(
            TOPIC,
            self._body("lease", {**names, "at": looked, "wait": wait}),
        )
        if not call.called:
            call.addTimeout(LEASE, self._links.clock)
        call.addCallbacks(answered, lambda _: done(0))

    def unlease(self, number: int) -> None:
        """What was asked for is stored, or will not be."""
        self._send("unlease", id=number)


class Links:
    """The stores of this process whose owners are at the other end of a channel.

    :param clock: the reactor.
    """

    def __init__(self, channel: Channel, clock: Any) -> None:
        self.channel = channel
        self.clock = clock
        self.seconds: Callable[[], float] = clock.seconds
        self._links: dict[int, Remote] = {}
        self._last = 0
        channel.register(TOPIC, self._told)

    def link(self, path: str, max_size: int, name: str, threads: Runs) -> Remote:
        """A link for a new store."""
        self._last += 1
        made = Remote(self, self._last, Folder(path), max_size, name, threads)
        self._links[self._last] = made
        return made

    def deliver(self, call: Callable[[], object]) -> None:
        """Call it on the loop."""
        self.clock.callFromThread(call)

    def forget(self, number: int) -> None:
        self._links.pop(number, None)

    def lost(self) -> None:
        """The main process is gone: nobody tells of purges any more."""
        for link in list(self._links.values()):
            link.change({"owned": False, "peers": 0})

    def _told(self, body: dict[str, Any]) -> dict[str, Any] | None:
        link = self._links.get(body["link"])
        return None if link is None else link.told(body)


def extra(max_size: int, members: int) -> int:
    """Bytes to grant beyond what a store of ``members`` asks for: together 3% of the bound."""
    return min(4 * 1024 * 1024, max_size // 32 // max(1, members))
