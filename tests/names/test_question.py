"""What is done with what a server sends, on sockets and without."""

import socket

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, capturedLogs
from twisted.names import dns
from twisted.trial.unittest import TestCase

from tests.names.nameserver import listen_both
from txrproxy.names.question import Unanswered, _Question, ask


def answer(query, *addresses, **flags):
    """A response to the bytes of a query."""
    message = dns.Message()
    message.fromStr(query)
    message.answer = 1
    message.answers = [
        dns.RRHeader(message.queries[0].name.name, dns.A, dns.IN, 1, dns.Record_A(address))
        for address in addresses
    ]
    for flag, value in flags.items():
        setattr(message, flag, value)
    return message.toStr()


class Scripted(DatagramProtocol):
    noisy = False

    def __init__(self, replies):
        self._replies = replies
        self.asked = 0

    def datagramReceived(self, datagram, addr):
        self.asked += 1
        for reply in self._replies(datagram):
            self.transport.write(reply, addr)


class ScriptedStream(Protocol):
    noisy = False

    def dataReceived(self, data):
        reply = self.factory.reply(data[2:])
        if reply is None:
            self.transport.abortConnection()
        elif reply:
            self.transport.write(len(reply).to_bytes(2, "big") + reply)


class AskTests(TestCase):
    timeout = 60

    def server(self, replies, stream=lambda query: None):
        self.protocol = Scripted(replies)
        factory = Factory.forProtocol(ScriptedStream)
        factory.noisy = False
        factory.reply = stream
        ports = listen_both(self.protocol, factory)
        for port in ports:
            self.addCleanup(port.stopListening)
        return "127.0.0.1", ports[0].getHost().port

    async def addresses(self, server, timeout=30):
        message = await ask(reactor, server, "app.example", dns.A, timeout)
        await deferLater(reactor, 0)  # the connection over TCP has yet to close
        return [record.payload.dottedQuad() for record in message.answers]

    async def refused(self, server, text, timeout=30):
        with self.assertRaises(Unanswered) as caught:
            await self.addresses(server, timeout)
        self.assertIn(text, str(caught.exception))
        self.assertIn("name server ", str(caught.exception))

    async def test_answer(self):
        server = self.server(lambda query: [answer(query, "10.0.0.1", "10.0.0.2")])
        self.assertEqual(await self.addresses(server), ["10.0.0.1", "10.0.0.2"])

    async def test_what_is_no_answer_is_passed_over(self):
        def replies(query):
            good = answer(query, "10.0.0.1")
            other = answer(query, "10.6.6.6", queries=[dns.Query(b"evil.example", dns.A)])
            kind = answer(query, "10.6.6.6", queries=[dns.Query(b"app.example", dns.AAAA)])
            none = answer(query, "10.6.6.6", queries=[])
            identity = bytes([good[0] ^ 1]) + answer(query, "10.6.6.6")[1:]
            return [
                b"",
                b"x",
                query,
                good[:11],
                identity,
                other,
                kind,
                none,
                bytes(600),
                good,
                good,
                answer(query, "10.6.6.6"),
            ]

        self.assertEqual(await self.addresses(self.server(replies)), ["10.0.0.1"])

    async def test_case_of_the_name_is_ignored(self):
        queries = [dns.Query(b"APP.Example", dns.A)]
        server = self.server(lambda query: [answer(query, "10.0.0.1", queries=queries)])
        self.assertEqual(await self.addresses(server), ["10.0.0.1"])

    async def test_nobody_there_is_known_at_once(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            server = gone.getsockname()
        await self.refused(server, "refused")

    async def test_silence(self):
        server = self.server(lambda query: [])
        await self.refused(server, "did not answer within 0.05 s", 0.05)

    async def test_nothing_is_logged(self):
        server = self.server(
            lambda query: [answer(query, trunc=1)], lambda query: answer(query, "10.0.0.1")
        )
        with capturedLogs() as events:
            await self.addresses(server)
        loud = [e for e in events if e["log_level"] > LogLevel.debug and "Datagrams" in str(e)]
        self.assertEqual(loud + [e for e in events if e["log_level"] > LogLevel.info], [])

    async def test_no_route(self):
        await self.refused(("255.255.255.255", 53), "")
        await self.refused(("fe80::1%nowhere", 53), "")

    async def test_cut_answers_are_asked_for_over_tcp(self):
        server = self.server(
            lambda query: [answer(query, trunc=1)], lambda query: answer(query, "10.0.0.1")
        )
        self.assertEqual(await self.addresses(server), ["10.0.0.1"])

    async def test_cut_for_ever(self):
        server = self.server(
            lambda query: [answer(query, trunc=1)], lambda query: answer(query, trunc=1)
        )
        await self.refused(server, "cut its answer short")

    async def test_tcp_that_fails(self):
        cut = lambda query: [answer(query, trunc=1)]  # noqa: E731
        await self.refused(self.server(cut), "")
        await self.refused(self.server(cut, lambda query: bytes(30)), "closed")
        await self.refused(self.server(cut, lambda query: b""), "did not answer within 0.3 s", 0.3)

    async def test_cancelled(self):
        for cut in (False, True):
            server = self.server(
                lambda query, cut=cut: [answer(query, trunc=1)] if cut else [], lambda query: b""
            )
            asked = Deferred.fromCoroutine(self.addresses(server))
            while not self.protocol.asked:
                await deferLater(reactor, 0.001)
            for _ in range(20):
                await deferLater(reactor, 0)
            asked.cancel()
            with self.assertRaises(CancelledError):
                await asked
            await deferLater(reactor, 0.01)

    def test_names_of_a_question_differ(self):
        ids = {_Question("a.example", dns.A).data[:2] for _ in range(50)}
        self.assertGreater(len(ids), 40)
