"""From a store to its owner."""

from __future__ import annotations

import threading
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.cache.sharing import Loop
from tests.cache.storing import response
from txrproxy.cache.disk import Folder
from txrproxy.cache.jobs import Inline
from txrproxy.cache.link import LATER, LEASE, Links, Quota, extra
from txrproxy.cache.owner import NoRoom, NotReady
from txrproxy.cache.purge import Purges
from txrproxy.cache.wire import pack_error


class Channel:
    """To a main process that says what it is told to say."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Any = {}

    def register(self, topic: str, callback: Any) -> None:
        self.tell = callback

    def send(self, topic: str, body: dict[str, Any]) -> None:
        self.asked.append(body)

    def call(self, topic: str, body: dict[str, Any]) -> Deferred[Any]:
        self.asked.append(body)
        if isinstance(self.answer, Exception):
            return fail(self.answer)
        return self.answer if isinstance(self.answer, Deferred) else succeed(self.answer)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.loop = Loop()
        self.channel = Channel()
        self.links = Links(self.channel, self.loop)
        self.link = self.links.link(self.mktemp(), 1000, "cache test", Inline())
        self.link.purges = Purges()
        self.link.store = self  # type: ignore[assignment]
        self.changes: list[bool] = []

    def changed(self, owned: bool) -> None:
        self.changes.append(owned)

    def told(self) -> tuple[list[Any], Any]:
        told: list[Any] = []
        return told, lambda *answer: told.append(answer)


class RemoteTests(Case):
    def test_state(self) -> None:
        self.assertFalse(self.link.ready)
        self.channel.answer = {"owned": True, "peers": 2, "purging": []}
        self.link.attach(lambda: None)
        self.assertEqual((self.link.ready, self.link.shared), (True, True))
        self.channel.tell({"link": 1, "do": "state", "owned": True, "peers": 1})
        self.assertFalse(self.link.shared)
        self.channel.tell({"link": 1, "do": "state", "owned": False, "peers": 1})
        self.assertEqual(self.changes, [True, False])
        self.channel.tell({"link": 7, "do": "state", "owned": False, "peers": 1})  # not ours

    def test_nobody_answers(self) -> None:
        self.channel.answer = OSError("gone")
        told, done = self.told()
        self.link.attach(lambda: done("attached"))
        self.link.update(response(), response(), done)
        self.link.ask(done, "preview")
        self.link.ask(None, "preview")
        self.link.used([response()], done)
        self.assertEqual(told[0], ("attached",))
        self.assertEqual([type(error) for _, error in told[1:]], [NotReady] * 3)
        self.assertRaises(NotReady, self.link.room.reserve, 5)

    def test_not_ready(self) -> None:
        """It is left alone for a while."""
        self.link.owned = True
        self.channel.answer = pack_error(NotReady())
        self.assertRaises(NotReady, self.link.room.reserve, 5)
        self.assertFalse(self.link.ready)
        self.loop.advance(LATER)
        self.assertTrue(self.link.ready)
        self.channel.answer = pack_error(NoRoom())
        self.assertRaises(NoRoom, self.link.room.reserve, 5)
        self.assertTrue(self.link.ready)

    def test_lease(self) -> None:
        told: list[Any] = []
        for answer in ({"lease": 5}, {"lease": 0}, {"again": True}, OSError("gone")):
            self.channel.answer = answer
            self.link.lease(b"\xff", 1.0, True, told.append)
        self.assertEqual(told, [5, 0, None, 0])
        self.assertEqual(self.channel.asked[0]["key"], "\xff")
        self.channel.answer = Deferred()
        self.link.lease(b"key", 1.0, True, told.append)
        self.loop.advance(LEASE)
        self.assertEqual(told[4:], [0])

    def test_detach(self) -> None:
        told, done = self.told()
        self.link.detach(lambda: done("over"))
        self.assertEqual((told, self.channel.asked[-1]["do"]), ([("over",)], "detach"))
        self.channel.tell({"link": 1, "do": "state", "owned": True, "peers": 1})
        self.assertEqual(self.changes, [])


class QuotaTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.asked: list[int] = []
        self.back: list[int] = []

        def ask(size: int) -> int:
            self.asked.append(size)
            return size + 100

        self.quota = Quota(Folder(self.mktemp()), ask, self.back.append)
        self.addCleanup(self.quota.folder.close)

    def test_few_messages(self) -> None:
        for _ in range(5):
            self.quota.reserve(20)
        self.assertEqual((self.asked, self.quota.free), ([20], 20))

    def test_surplus(self) -> None:
        self.quota.reserve(50)
        self.quota.release(20)
        self.assertEqual((self.quota.free, self.back), (120, []))
        self.quota.release(80)
        self.assertEqual((self.quota.free, self.back), (150, [50]))

    def test_extra(self) -> None:
        """What is granted in advance stays below 4% of the bound, however many ask."""
        for members in (1, 2, 64):
            for bound in (1 << 20, 1 << 30):
                self.assertLess(extra(bound, members) * members, bound * 0.04)


class ThreadTests(Case):
    def test_room_for_a_thread(self) -> None:
        """It waits; the loop does the asking."""
        self.channel.answer = waiting = Deferred[Any]()
        asked = threading.Event()
        calls: list[Any] = []

        def deliver(call: Any) -> None:
            calls.append(call)
            asked.set()

        self.patch(self.links, "deliver", deliver)
        thread = threading.Thread(target=self.link.room.reserve, args=(5,), daemon=True)
        thread.start()
        self.assertTrue(asked.wait(30))
        calls.pop()()
        waiting.callback({"granted": 50})
        thread.join(30)
        self.assertFalse(thread.is_alive())
        self.assertEqual(self.link.room.free, 45)  # type: ignore[attr-defined]
