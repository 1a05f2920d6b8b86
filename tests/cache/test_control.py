"""The owner's socket, and the command's side of it."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.cache.storing import StoreTestCase, find, look, make_store, put, response
from txrproxy.cache.control import MAX_QUESTION, Control, NoOwner, ask, listen


class ControlTests(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        for name in (b"a/1", b"a/2", b"b"):
            put(self.store, response(name, tags=[name[:1]]), b"hello")
        self.transport = StringTransport()
        self.control = Control(self.store)
        self.control.makeConnection(self.transport)

    def ask(self, **question: Any) -> Any:
        self.control.dataReceived(json.dumps(question).encode() + b"\n")
        return self.answer()

    def answer(self) -> Any:
        said = self.transport.value()
        self.transport.clear()
        self.assertTrue(said.endswith(b"\n"))
        return json.loads(said)

    def test_purge(self) -> None:
        size = os.stat(self.store.folder.path_of(self.name(b"a/1"))).st_size
        expected = {"result": {"count": 2, "size": 2 * size}}
        question = {"kind": "prefix", "value": "http://example.com/a/"}
        self.assertEqual(self.ask(ask="preview", **question), expected)
        self.assertIsNotNone(find(self.store, b"a/1"))
        self.assertEqual(self.ask(ask="purge", **question), expected)
        self.assertIsNone(find(self.store, b"a/1"))
        self.assertEqual(
            self.ask(ask="purge", kind="tag", value="b", soft=True)["result"]["count"], 1
        )
        copy = find(self.store, b"b")
        assert copy is not None
        self.assertTrue(copy.stored.invalidated)

    def name(self, key: bytes) -> str:
        from txrproxy.cache.entry import primary_name

        return primary_name(key)

    def test_questions(self) -> None:
        listed = self.ask(ask="ls", prefix="http://example.com/a")["result"]
        self.assertEqual([item["url"][-3:] for item in listed], ["a/1", "a/2"])
        self.assertEqual((listed[0]["tags"], listed[0]["status"]), (["a"], 200))
        for limit, count in ((1, 1), (0, 0), (-1, 0)):
            self.assertEqual(len(self.ask(ask="ls", limit=limit)["result"]), count)
        (shown,) = self.ask(ask="show", url="http://example.com/b")["result"]
        self.assertIn('ETag: "a"\r\n', shown["head"])
        self.assertEqual(self.ask(ask="stats")["result"]["responses"], 3)

    def test_urls_as_people_write_them(self) -> None:
        for url in ("HTTP://Example.com:80/%c3/b", "http://example.com/%C3/b#c"):
            put(self.store, response(b"\xc3", url=b"http://example.com/%C3/b"), b"hello")
            (shown,) = self.ask(ask="show", url=url)["result"]
            self.assertEqual(shown["length"], 5)
            self.assertEqual(len(self.ask(ask="ls", prefix=url[:-4])["result"]), 1)
            for kind, value in (("prefix", url[:-4]), ("url", url)):
                said = self.ask(ask="preview", kind=kind, value=value)
                self.assertEqual(said["result"]["count"], 1)
            self.assertEqual(self.ask(ask="purge", kind="url", value=url)["result"]["count"], 1)
        for question in (
            {"ask": "purge", "kind": "url", "value": "/b"},
            {"ask": "show", "url": "example.com/b"},
        ):
            self.assertTrue(self.ask(**question)["error"].startswith("not a URL: expected http"))
        for question in (
            {"ask": "preview", "kind": "prefix", "value": "example.com"},
            {"ask": "ls", "prefix": "/b"},
        ):
            self.assertTrue(self.ask(**question)["error"].startswith("no URL begins so: "))

    def test_nonsense(self) -> None:
        for question in (
            {},
            {"ask": "dance"},
            {"ask": "purge"},
            {"ask": "purge", "kind": "some"},
            {"ask": "purge", "kind": "url", "value": 5},
            {"ask": "purge", "kind": "url", "value": "\u20ac"},
            {"ask": "ls", "limit": "many"},
            {"ask": "show"},
        ):
            self.assertIn("makes no sense", self.ask(**question)["error"])
        for line in (b"", b"{", b"[]", b"\xff"):
            self.control.dataReceived(line + b"\n")
            self.assertIn("not JSON", self.answer()["error"])
        self.control.dataReceived(bytes(MAX_QUESTION + 1))
        self.assertTrue(self.transport.disconnecting)

    def test_errors(self) -> None:
        other = make_store(self.path)
        self.addCleanup(other.close)
        self.control = Control(other)
        self.control.makeConnection(self.transport)
        self.assertIn("not in use", self.ask(ask="purge", kind="all")["error"])


class AskTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.path = os.path.join(self.mktemp(), "deep" * 30)
        self.store = make_store(self.path)
        put(self.store, response(), b"hello")

    def tearDown(self) -> None:
        self.store.close()

    async def test_running(self) -> None:
        """Through the socket, into the memory of the process."""
        port = listen(self.store, reactor)
        path = os.path.join(self.path, "control")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        try:
            stats = await deferToThread(ask, self.path, {"ask": "stats"})
            self.assertEqual(stats["memory_objects"], 1)
            result = await deferToThread(ask, self.path, {"ask": "purge", "kind": "all"})
            self.assertEqual(result["count"], 1)
            self.assertIsNone(look(self.store))
            with self.assertRaisesRegex(ValueError, "makes no sense"):
                await deferToThread(ask, self.path, {"ask": "dance"})
        finally:
            await port.stopListening()

    def test_socket_left_behind(self) -> None:
        """A process that was killed leaves a socket that nobody answers."""
        left = socket.socket(socket.AF_UNIX)
        folder = os.open(self.path, os.O_RDONLY)
        left.bind(f"/proc/self/fd/{folder}/control")
        os.close(folder)
        left.close()
        self.store.close()
        self.assertEqual(ask(self.path, {"ask": "stats"})["responses"], 1)
        self.store = make_store(self.path)
        port = listen(self.store, reactor)
        return port.stopListening()

    def test_not_running(self) -> None:
        """On the files themselves."""
        self.store.close()
        self.assertEqual(len(ask(self.path, {"ask": "ls"})), 1)
        purge = {"ask": "purge", "kind": "url", "value": "http://example.com/key"}
        self.assertEqual(ask(self.path, purge)["count"], 1)
        self.store = make_store(self.path)
        self.assertIsNone(look(self.store))
        self.assertTrue(self.store.owner.ready)

    def test_nobody_answers(self) -> None:
        self.assertRaises(NoOwner, ask, self.path, {"ask": "stats"})
        self.assertRaises(NoOwner, ask, self.path + "x", {"ask": "stats"})

    async def test_hangs_up(self) -> None:
        port = listen(self.store, reactor)
        try:
            with self.assertRaises(NoOwner):
                await deferToThread(ask, self.path, {"ask": "x" * MAX_QUESTION})
        finally:
            await port.stopListening()
