"""The owner of a cache's folder is asked without waiting."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from txrproxy.cache.asking import ask_later
from txrproxy.cache.control import NAME, NoOwner
from txrproxy.transport.channel import bind_to
from txrproxy.transport.listening import Listening

_reactor: Any = reactor


class Owner(Protocol):
    """Says what its factory says, to whatever it is asked."""

    def dataReceived(self, data: bytes) -> None:
        factory: Any = self.factory
        transport: Any = self.transport
        factory.asked.append(data)
        if factory.says is None:
            transport.loseConnection()
        for piece in factory.says or ():
            transport.write(piece)


class Case(TestCase):
    timeout = 60

    def setUp(self) -> None:
        # Longer than an address has room for.
        self.folder = os.path.join(self.mktemp(), "f" * 120)
        os.makedirs(self.folder)
        self.factory: Any = Factory.forProtocol(Owner)
        self.factory.asked = []

    def own(self, *says: bytes) -> None:
        """Listen, and say this; nothing, and the end, without."""
        self.factory.says = says or None
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(sock.close)
        bind_to(sock, os.path.join(self.folder, NAME))
        sock.listen()
        sock.setblocking(False)
        port = Listening(sock, self.factory, _reactor)
        port.start()
        self.addCleanup(port.close)

    async def test_answer(self) -> None:
        self.own(b'{"result": {"size"', b": 5}}\n")
        self.assertEqual(await ask_later(_reactor, self.folder, {"ask": "stats"}), {"size": 5})
        self.assertEqual(self.factory.asked, [b'{"ask": "stats"}\n'])

    async def test_error(self) -> None:
        self.own(b'{"error": "no such question"}\n')
        with self.assertRaisesRegex(ValueError, "no such question"):
            await ask_later(_reactor, self.folder, {})

    async def test_nonsense(self) -> None:
        self.own(b"nonsense\n")
        with self.assertRaisesRegex(ValueError, "makes no sense"):
            await ask_later(_reactor, self.folder, {})

    async def test_nobody(self) -> None:
        with self.assertRaisesRegex(NoOwner, "no process owns it"):
            await ask_later(_reactor, self.folder, {})
        with self.assertRaisesRegex(NoOwner, "No such file"):
            await ask_later(_reactor, self.folder + "x", {})

    async def test_closed(self) -> None:
        self.own()
        with self.assertRaisesRegex(NoOwner, "was closed"):
            await ask_later(_reactor, self.folder, {})

    async def test_late(self) -> None:
        self.own(b"")
        with self.assertRaisesRegex(NoOwner, "does not answer"):
            await ask_later(_reactor, self.folder, {}, patience=0.05)
