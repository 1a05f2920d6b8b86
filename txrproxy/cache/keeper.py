"""The owner's end of links: one folder, and the stores of all processes that work on it.

It is in the main process, beside no traffic, and lives as long as any store is attached. It calls
the owner, in whose thread everything has one order, and keeps what needs none:

- **Room** that was granted to a store comes back when its process ends, however that ends.
- **A purge** is told to every store, and acknowledged, before the owner removes files. What a store
  let be published before it knew of the purge is in the owner's order before it, and goes with it;
  what is not published by then, the store drops by itself. A store that attaches meanwhile is told
  of the purges under way; one whose process is gone holds nothing up.
- **Leases.** Who is to ask the origin for a key asks here first. Another then waits until the
  lease ends, and looks again; or goes on alone when that takes too long. A purge ends the leases
  of what it may take.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from txrproxy.cache.control import Listening, listen
from txrproxy.cache.link import TOPIC, extra, update
from txrproxy.cache.purge import Purge, Purged
from txrproxy.cache.store import Store
from txrproxy.cache.wire import pack, pack_error, unpack

_logger = Logger()

METHODS = frozenset({"discard", "preview", "listing", "show"})
"""Methods of the owner that are called as they are asked for."""

ACKNOWLEDGE = 10.0  # seconds for a process to say that it knows of a purge
WAIT = 5.0  # seconds that a process waits for what another asked the origin for
REMEMBER = 10.0  # seconds for which it is known that a lease has ended
MAX_ENDED = 65536
LINGER = 5.0  # seconds without a store until the folder is given up

Answer = dict[str, Any] | Deferred[Any] | None


@define(eq=False)
class Member:
    """A store of some process. ``who`` is that process, ``link`` the store's number in it."""

    who: Hashable
    link: int
    channel: Any
    reserved: int = 0  # bytes
    changing: int = 0  # files that the owner was told of and has not done with

    def send(self, what: str, **more: Any) -> None:
        self.channel.send(TOPIC, {"link": self.link, "do": what, **more})

    def call(self, what: str, **more: Any) -> Deferred[dict[str, Any]]:
        answer: Deferred[dict[str, Any]] = self.channel.call(
            TOPIC, {"link": self.link, "do": what, **more}
        )
        return answer


_ALL = Purge("all")


@define(eq=False)
class _Lease:
    number: int
    key: str
    url: str
    holder: Member
    waiting: dict[Deferred[dict[str, Any]], Any] = field(factory=dict)  # with their deadlines


class Keeper:
    """One folder. ``over(keeper)`` is called when it has closed by itself."""

    def __init__(
        self,
        path: str,
        max_size: int,
        name: str,
        reactor: Any,
        over: Callable[[Keeper], object] = lambda _: None,
        **given: Any,
    ) -> None:
        self.store = Store(
            path,
            max_size=max_size,
            max_object=0,
            memory=0,
            clock=reactor,
            deliver=reactor.callFromThread,
            name=name,
            **given,
        )
        self.folder = self.store.folder
        self.owned = False
        self.members: dict[tuple[Hashable, int], Member] = {}
        self._name = name
        self._reactor = reactor
        self._over = over
        self._purging: dict[int, Purge] = {}
        self._last = 0  # number of a purge, or of a lease
        self._leases: dict[str, _Lease] = {}
        self._numbered: dict[int, _Lease] = {}  # the same
        self._ended: dict[str, float] = {}  # when the last lease of a key ended
        self._listening: Listening | None = None
        self._closing: Any = None
        self._closed: Deferred[None] | None = None

    # Beginning and end.

    def open(self) -> None:
        """Take the folder, as soon as it is to be had, and answer the command."""
        self.store.open(owned=self._take)

    def _take(self) -> None:
        if self._closed is not None:
            return
        self.owned = True
        try:
            self._listening = listen(self, self._reactor)
        except OSError as error:
            _logger.warn(
                "{name}: `txrproxy cache` can not ask: {error}", name=self._name, error=error
            )
        self._tell()

    def _tell(self) -> None:
        """Every store, how things are."""
        for member in self.members.values():
            member.send("state", **self._state)

    @property
    def _state(self) -> dict[str, Any]:
        return {"owned": self.owned, "peers": len(self.members)}

    def close(self) -> Deferred[None]:
        """Let go of the folder, for another process to take it; waits for what the owner does.

        Stores that are still attached serve what they find, and store nothing.
        """
        closed: Deferred[None] = Deferred()
        if self._closed is not None:
            self._closed.chainDeferred(closed)
            return closed
        ending: Deferred[None] = Deferred()
        self._closed = Deferred()
        self._closed.chainDeferred(closed)
        self.owned = False
        self._forget_leases()
        self._tell()
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        self.store.finish(lambda: ending.callback(None))
        ends = [ending]
        if self._listening is not None:
            ends.append(self._listening.stopListening())
            self._listening = None
        DeferredList(ends, consumeErrors=True).addCallback(self._be_closed)
        return closed

    def _be_closed(self, _: Any) -> None:
        assert self._closed is not None
        self._closed.callback(None)

    def _linger(self) -> None:
        """Nobody is attached. One that died is replaced soon; after a reload nobody may come."""
        if self._closing is None and self._closed is None:
            self._closing = self._reactor.callLater(LINGER, self._end)

    def _end(self) -> None:
        self._closing = None
        self._over(self)
        self.close()

    # What stores say.

    def told(self, who: Hashable, channel: Any, body: dict[str, Any]) -> Answer:
        """A message of a store of ``who``, at the other end of ``channel``."""
        what = body["do"]
        if what == "attach":
            return self._attach(who, channel, body)
        member = self.members.get((who, body["link"]))
        if member is None:
            return None
        if what in METHODS:
            return self._ask(what, *map(unpack, body["arguments"]))
        does: Any = getattr(self, f"_on_{what}")
        answer: Answer = does(member, body)
        return answer

    def _attach(self, who: Hashable, channel: Any, body: dict[str, Any]) -> Answer:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        owner = self.store.owner
        if owner.max_size != body["size"]:
            self.store.link.ask(None, "resize", body["size"])
        member = Member(who, body["link"], channel)
        self._tell_peers(1)
        self.members[who, body["link"]] = member
        purging = [[number, pack(purge)] for number, purge in self._purging.items()]
        return {"purging": purging, **self._state}

    def _tell_peers(self, more: int) -> None:
        peers = len(self.members) + more
        for member in self.members.values():
            member.send("state", owned=self.owned, peers=peers)

    def _on_detach(self, member: Member, _: Any = None) -> Answer:
        self.members.pop((member.who, member.link), None)
        if member.reserved:
            self.store.link.ask(None, "release", member.reserved)
            member.reserved = 0
        for lease in [each for each in self._leases.values() if each.holder is member]:
            self._end_lease(lease)
        self._tell_peers(0)
        if not self.members:
            self._linger()
        return None

    def gone(self, who: Hashable) -> None:
        """A process is no more, with all its stores."""
        for member in [each for each in self.members.values() if each.who == who]:
            self._on_detach(member)

    def _ask(self, what: str, *arguments: Any) -> Deferred[Any]:
        return self._answer(lambda done: self.store.link.ask(done, what, *arguments))

    @staticmethod
    def _answer(
        ask: Callable[[Callable[[Any, BaseException | None], None]], object],
    ) -> Deferred[Any]:
        answer: Deferred[dict[str, Any]] = Deferred()

        def done(result: Any, error: BaseException | None) -> None:
            answer.callback({"result": pack(result)} if error is None else pack_error(error))

        ask(done)
        return answer

    # Room, and files.

    def _on_reserve(self, member: Member, body: dict[str, Any]) -> Answer:
        answer: Deferred[dict[str, Any]] = Deferred()
        size = body["size"]
        more = extra(self.store.owner.max_size, len(self.members))

        def granted(result: Any, error: BaseException | None) -> None:
            if error is not None:
                answer.callback(pack_error(error))
                return
            if self.members.get((member.who, member.link)) is not member:
                self.store.link.ask(None, "release", result)  # it died meanwhile
                result = 0
            member.reserved += result
            answer.callback({"granted": result})

        self.store.link.ask(granted, "grant", size, more)
        return answer

    def _on_release(self, member: Member, body: dict[str, Any]) -> Answer:
        size = body["size"]
        member.reserved -= size
        self.store.link.ask(None, "release", size)
        return None

    def _on_adopt(self, member: Member, body: dict[str, Any]) -> Answer:
        member.reserved -= body["reserved"]
        answer = self._ask("adopt", body["file"], body["reserved"])
        return self._changing(member, answer)

    @staticmethod
    def _changing(member: Member, answer: Deferred[Any]) -> Deferred[Any]:
        member.changing += 1

        def changed(result: Any) -> Any:
            member.changing -= 1
            return result

        return answer.addBoth(changed)

    def _on_update(self, member: Member, body: dict[str, Any]) -> Answer:
        owner, old, new = self.store.owner, unpack(body["old"]), unpack(body["new"])
        threads = self.store.link.threads
        answer = self._answer(lambda done: threads.submit(lambda: update(owner, old, new), done))
        return self._changing(member, answer)

    def _on_used(self, member: Member, body: dict[str, Any]) -> Answer:
        return self._ask("used", body["names"])

    # Purges.

    def _on_purge(self, member: Member, body: dict[str, Any]) -> Answer:
        (purge,) = map(unpack, body["arguments"])
        return self._answer(lambda done: self.purge(purge, done, member))

    def purge(
        self,
        purge: Purge,
        done: Callable[[Purged | None, BaseException | None], object],
        by: Member | None = None,
    ) -> None:
        """Purge everywhere, then tell ``done``; the store ``by`` has done its part already."""
        self._last += 1
        number = self._last
        self._purging[number] = purge
        self._forget_leases(purge)
        others = [member for member in self.members.values() if member is not by]
        calls = []
        for member in others:
            call = member.call("purge", id=number, purge=pack(purge))
            if not call.called:
                call.addTimeout(ACKNOWLEDGE, self._reactor)
            calls.append(call)

        def acknowledged(results: Sequence[tuple[bool, Any]]) -> None:
            silent = [
                member
                for member, (good, _) in zip(others, results, strict=True)
                if not good and (member.who, member.link) in self.members
            ]
            self.store.purge(purge, lambda result, error: purged(result, error, silent))

        def purged(
            result: Purged | None, error: BaseException | None, silent: list[Member]
        ) -> None:
            del self._purging[number]
            for member in self.members.values():
                member.send("purged", id=number)
            still = [m for m in silent if (m.who, m.link) in self.members]
            if still and error is None:
                names = ", ".join(str(member.who) for member in still)
                error = OSError(f"purged, but not in {names}, which does not answer")
                _logger.error("{name}: {error}", name=self._name, error=str(error))
            elif result is not None and by is None:  # by a person: clients' writes are many
                value = purge.value.decode("latin-1").encode("unicode_escape").decode()
                _logger.info(
                    "{name}: {count} responses {done}: {what}",
                    name=self._name,
                    count=result.count,
                    done="marked as stale" if purge.soft else "purged",
                    what=f"{purge.kind} {value}".rstrip(),
                )
            done(result, error)

        DeferredList(calls, consumeErrors=True).addCallback(acknowledged)

    # Questions, as a store is asked.

    def preview(self, purge: Purge, done: Any) -> None:
        """:meth:`Store.preview`."""
        self.store.preview(purge, done)

    def listing(self, prefix: bytes, limit: int, done: Any) -> None:
        """:meth:`Store.listing`."""
        self.store.listing(prefix, limit, done)

    def show(self, url: bytes, done: Any) -> None:
        """:meth:`Store.show`."""
        self.store.show(url, done)

    def stats(self, done: Callable[[dict[str, Any] | None, BaseException | None], object]) -> None:
        """:meth:`Store.stats`, with what the stores have in memory and given up, all together."""
        calls = []
        for member in self.members.values():
            call = member.call("figures")
            if not call.called:
                call.addTimeout(ACKNOWLEDGE, self._reactor)
            calls.append(call)

        def counted(results: Sequence[tuple[bool, Any]]) -> None:
            rows = [figures for good, figures in results if good and figures]
            self.store.link.ask(lambda known, error: sum_up(known, error, rows), "stats")

        def sum_up(
            known: dict[str, Any] | None, error: BaseException | None, rows: list[dict[str, Any]]
        ) -> None:
            if known is not None:
                for figures in rows:
                    for name, value in figures.items():
                        known[name] = known.get(name, 0) + value
                known["storing"] = bool(known.get("storing", 0))
                known["processes"] = len(rows)
            done(known, error)

        DeferredList(calls, consumeErrors=True).addCallback(counted)

    def _on_stats(self, member: Member, body: dict[str, Any]) -> Answer:
        return self._answer(self.stats)

    # Leases.

    def _on_lease(self, member: Member, body: dict[str, Any]) -> Answer:
        key = body["key"]
        ended = self._ended.get(key)
        if ended is not None and ended >= body["at"]:
            return {"again": True}  # since it looked
        lease = self._leases.get(key)
        if lease is None:
            self._last += 1
            lease = self._leases[key] = _Lease(self._last, key, body["url"], member)
            self._numbered[lease.number] = lease
            return {"lease": lease.number}
        if lease.holder is member:
            return {"lease": 0}
        if not body["wait"]:
            return {"again": True}
        answer: Deferred[dict[str, Any]] = Deferred()
        lease.waiting[answer] = self._reactor.callLater(WAIT, self._alone, lease, answer)
        return answer

    @staticmethod
    def _alone(lease: _Lease, answer: Deferred[dict[str, Any]]) -> None:
        del lease.waiting[answer]
        answer.callback({"lease": 0})

    def _on_unlease(self, member: Member, body: dict[str, Any]) -> Answer:
        number = body["id"]

        def written(_: Any, __: BaseException | None) -> None:
            lease = self._numbered.get(number)
            if lease is not None:
                self._end_lease(lease)

        # What the owner was told before has to be done by then.
        if member.changing:
            self.store.link.threads.submit(_nothing, written)
        else:
            written(None, None)
        return None

    def _end_lease(self, lease: _Lease) -> None:
        del self._leases[lease.key]
        del self._numbered[lease.number]
        now = self._reactor.seconds()
        ended = self._ended
        ended.pop(lease.key, None)
        ended[lease.key] = now
        while ended:
            first = next(iter(ended))
            if len(ended) <= MAX_ENDED and now - ended[first] < REMEMBER:
                break
            del ended[first]
        waiting, lease.waiting = lease.waiting, {}
        for answer, deadline in waiting.items():
            deadline.cancel()
            answer.callback({"again": True})

    def _forget_leases(self, purge: Purge = _ALL) -> None:
        """Nobody waits any more for what a purge may take."""
        for lease in list(self._leases.values()):
            if purge.may_match(lease.key.encode("latin-1"), lease.url.encode("latin-1")):
                self._end_lease(lease)
                self._ended.pop(lease.key, None)


def _nothing() -> None:
    """For a place in the owner's order."""
