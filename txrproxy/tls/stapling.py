"""Keeps OCSP responses for the certificates that are served, so that handshakes never wait for one.

Each certificate that names a responder is asked about when it is first served, again at half of the
answer's life, and after a failure with growing intervals. A response is stapled while it is valid;
without one the handshake goes on without. Connections to responders are few and far between, so
``twisted.web.client`` is good enough for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import define
from cryptography import x509
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from txrproxy.tls.certificates import Certificate, must_staple, responder
from txrproxy.tls.ocsp import MAX_RESPONSE, BadResponse, Stapled, judge, request

_logger = Logger()

TIMEOUT = 10.0  # seconds for one answer
FIRST_RETRY, LAST_RETRY = 60.0, 3600.0  # seconds after a failure, doubled each time
SOONEST = 60.0  # seconds between two answers, however short-lived they are

#: Asks a responder (its URL, a request): the response's bytes.
Ask = Callable[[str, bytes], "Deferred[bytes]"]


@define(eq=False)
class _Kept:
    """One certificate's state."""

    certificate: Certificate
    issuer: x509.Certificate
    url: str
    stapled: Stapled | None = None
    failures: int = 0
    call: Any = None  # when it is asked about next
    asking: Deferred[bytes] | None = None


class Stapler:
    """The responses for some certificates. ``wall`` is unix time, ``ask`` does the asking."""

    def __init__(self, clock: Any, wall: Callable[[], float], ask: Ask) -> None:
        self._clock = clock
        self._wall = wall
        self._ask = ask
        self._kept: dict[Certificate, _Kept] = {}

    def staple(self, certificate: Certificate) -> bytes:
        """The response to staple now; b"" for none."""
        kept = self._kept.get(certificate)
        if kept is None or kept.stapled is None or not kept.stapled.valid(self._wall()):
            return b""
        return kept.stapled.response

    def watch(self, certificates: Iterable[Certificate]) -> None:
        """Keep responses for these certificates, and for no others."""
        wanted = dict.fromkeys(certificates)
        for certificate in [one for one in self._kept if one not in wanted]:
            self._forget(self._kept.pop(certificate))
        for certificate in wanted:
            url, issuer = responder(certificate), certificate.issuer
            if certificate not in self._kept and url is not None and issuer is not None:
                kept = self._kept[certificate] = _Kept(certificate, issuer, url)
                self._begin(kept)

    def stop(self) -> None:
        """Ask no more."""
        self.watch(())

    def _forget(self, kept: _Kept) -> None:
        if kept.call is not None:
            kept.call.cancel()
            kept.call = None
        if kept.asking is not None:
            kept.asking.cancel()

    def _begin(self, kept: _Kept) -> None:
        kept.call = None
        question = request(kept.certificate.leaf, kept.issuer)
        kept.asking = asking = maybeDeferred(self._ask, kept.url, question)
        asking.addTimeout(TIMEOUT, self._clock)
        asking.addCallback(self._answered, kept)
        asking.addErrback(self._failed, kept)

    def _answered(self, content: bytes, kept: _Kept) -> None:
        now = self._wall()
        kept.asking = None
        kept.stapled = stapled = judge(content, kept.certificate.leaf, kept.issuer, now)
        kept.failures = 0
        self._later(kept, max(SOONEST, stapled.refresh - now))

    def _failed(self, failure: Failure, kept: _Kept) -> None:
        kept.asking = None
        if self._kept.get(kept.certificate) is not kept:
            return  # nobody wants to know any more
        first = kept.failures == 0
        delay = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(kept.failures, 16))
        kept.failures += 1
        self._later(kept, delay)
        if first or must_staple(kept.certificate.leaf):
            _logger.warn(
                "no OCSP response for {file} from {url}: {why}",
                file=str(kept.certificate.source.cert),
                url=kept.url,
                why=_explain(failure),
            )

    def _later(self, kept: _Kept, delay: float) -> None:
        if self._kept.get(kept.certificate) is kept:
            kept.call = self._clock.callLater(delay, self._begin, kept)


def _explain(failure: Failure) -> str:
    if failure.check(CancelledError):
        return "cancelled"
    error = failure.value
    if isinstance(error, BadResponse):
        return str(error)
    if isinstance(error, ResponseFailed):
        return f"no whole answer: {error.reasons[0].getErrorMessage()}"
    return f"{type(error).__name__}: {failure.getErrorMessage()}"


def asker(reactor: Any) -> Ask:
    """Asks over HTTP, by POST (RFC 6960 appendix A.1), each time on a connection of its own."""
    pool: Any = HTTPConnectionPool(reactor, persistent=False)
    # Logs nothing of connections that come and go; Twisted has no other way to say so.
    pool._factory = type("Quiet", (pool._factory,), {"noisy": False})
    agent = Agent(reactor, connectTimeout=TIMEOUT, pool=pool)

    def ask(url: str, question: bytes) -> Deferred[bytes]:
        headers = Headers(
            {
                b"Content-Type": [b"application/ocsp-request"],
                b"Accept": [b"application/ocsp-response"],
            }
        )
        body: Any = _Question(question)
        return agent.request(b"POST", url.encode("ascii"), headers, body).addCallback(_read)

    return ask


def _read(response: Any) -> Deferred[bytes]:
    if response.code != 200:
        raise BadResponse(f"the responder answered with status {response.code}")
    if response.length is not UNKNOWN_LENGTH and response.length > MAX_RESPONSE:
        raise BadResponse("the answer is too large")
    reader = _Answer()
    response.deliverBody(reader)
    return reader.done


class _Answer(Protocol):
    """Collects a body up to a bound."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._end())
        self._content = b""

    def dataReceived(self, data: bytes) -> None:
        self._content += data
        if len(self._content) > MAX_RESPONSE:
            self._content = b""
            self._end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if self._content:
            self.done.callback(self._content)  # judged by its signature, not by how it ended
        else:
            self.done.errback(BadResponse("no answer, or one that is too large"))

    def _end(self) -> None:
        assert self.transport is not None
        self.transport.abortConnection()


@implementer(IBodyProducer)
class _Question:
    """A short body, written at once."""

    def __init__(self, content: bytes) -> None:
        self.length = len(content)
        self._content = content

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._content)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It is all written."""

    resumeProducing = stopProducing = pauseProducing
