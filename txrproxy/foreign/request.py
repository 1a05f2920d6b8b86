"""What a mounted resource renders: a request of ``twisted.web``, with its excesses bounded.

A form is parsed in one pass or not at all, and a mistake of the resource is an exception, never a
page with a traceback.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import parse_qs
from twisted.web.server import NOT_DONE_YET, Request

from txrproxy.errors import BAD_FORM
from txrproxy.http.form import BadForm, parse_multipart

MAX_FORM = 1 << 20  # bytes of a form that is parsed into ``request.args``, in memory
MAX_ARGUMENTS = 10_000  # of a form

_logger = Logger()


def log_failure(failure: Failure) -> None:
    """Tell the log, and nobody else."""
    _logger.failure("A mounted resource failed", failure=failure)


class ForeignRequest(Request):
    """The request that a mounted resource renders."""

    channel: Any
    has_form = False  # one that may be parsed, if it is any

    def process(self) -> None:
        if self.has_form:
            try:
                self._parse_form()
            except BadForm:
                self.channel.refuse(BAD_FORM)
                return
        super().process()

    def _parse_form(self) -> None:
        """What ``twisted.web`` does, in bounded time."""
        assert self.content is not None
        content_type = (self.requestHeaders.getRawHeaders(b"Content-Type") or [b""])[0]
        kind = content_type.partition(b";")[0].strip(b" \t").lower()
        if kind == b"application/x-www-form-urlencoded":
            text = self.content.read()
            if text.count(b"&") >= MAX_ARGUMENTS:
                raise BadForm("too many arguments")
            self.args.update(parse_qs(text, 1))
        elif kind == b"multipart/form-data":
            form: dict[bytes, list[bytes]] = {}
            for name, value in parse_multipart(self.content.read(), content_type):
                form.setdefault(name, []).append(value)
            self.args.update(form)
        self.content.seek(0)

    def write(self, data: bytes) -> None:
        begins = not self.startedWriting
        super().write(data)
        # Gone after ``finish``, None after a lost connection.
        channel = getattr(self, "channel", None)
        if begins and channel is not None:
            channel.flush()

    def render(self, resrc: Any) -> None:
        super().render(_Strict(resrc))

    def processingFailed(self, reason: Failure) -> Failure:
        channel = getattr(self, "channel", None)
        if channel is None:
            log_failure(reason)
        else:
            channel.fail(reason)
        return reason


class _Strict:
    """A resource whose mistakes are exceptions; ``twisted.web`` would show them to the client."""

    def __init__(self, resource: Any) -> None:
        self._resource = resource

    def __repr__(self) -> str:
        return repr(self._resource)

    def render(self, request: Any) -> Any:
        body = self._resource.render(request)
        if body is not NOT_DONE_YET and not isinstance(body, bytes):
            raise TypeError(f"{self._resource!r} rendered {type(body).__name__}, not bytes")
        return body
