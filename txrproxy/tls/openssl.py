"""One TLS connection as a pure pipe: ciphertext in, plaintext out, and the other way round.

pyOpenSSL's ``Connection`` on memory BIOs is exactly that, but it pays for comfort with every call:
a buffer allocated for the size asked, the bytes copied out of it, more calls to find that nothing
went wrong. :class:`FastPipe` makes the same calls of OpenSSL into two buffers of the
process. :class:`PlainPipe` does it by the public interface, and both behave the same.

All that the product knows of pyOpenSSL's and cryptography's private names is in this module.
:func:`mismatches` compares it with what is installed; where that differs, ``make_pipe`` gives the
plain pipe, which costs more and needs nothing private.

The memory BIOs never shrink, so data goes through them in pieces: an idle connection keeps what
the largest piece took.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

RECORD = 16 * 1024  # bytes of plaintext in the largest record (RFC 8446 section 5.1)
PIECE = 32 * 1024  # bytes through a memory BIO at once
GATHER = 256 * 1024  # bytes of plaintext gathered before they are given away
OVERHEAD = 256  # bytes more than its plaintext that a record may take on the wire
VERIFY_FAILED = "certificate verify failed"  # OpenSSL's words, and all that it says of a chain

Data = bytes | bytearray | memoryview

try:
    from OpenSSL._util import ffi as _ffi
    from OpenSSL._util import lib as _lib
except ImportError:  # pragma: no cover
    _ffi = _lib = None


class TlsFailure(Exception):
    """The TLS connection can not go on; the text is OpenSSL's reason, without addresses."""


class Pipe:
    """What the two kinds share: the handshake, the end, and what is known of the peer."""

    __slots__ = ("connection", "ended", "failure", "more")

    def __init__(self, connection: SSL.Connection) -> None:
        self.connection = connection
        self.ended = False  # the peer's close_notify has been read
        self.more = False  # there may be more to read than the last call gave
        self.failure = ""  # found behind good data, which was given first

    def feed(self, data: Data) -> None:
        """Take ciphertext, to be read later."""
        view = memoryview(data)
        while view:
            view = view[self.connection.bio_write(view) :]

    def waiting(self) -> bool:
        """Whether there is ciphertext that has not been read; True where that is not known."""
        return True

    def handshake(self) -> bool:
        """Go on with the handshake; whether it is complete.

        :raises TlsFailure: it failed; an alert may have to be sent.
        """
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise TlsFailure(explain(error)) from error
        return True

    def decrypt(self, data: Data = b"") -> bytes:
        """The plaintext of what was fed and of ``data``, up to ``GATHER`` bytes.

        ``more`` says whether another call without data may give more, ``ended`` that the peer has
        closed its side in order.

        :raises TlsFailure: what arrived is broken; an alert may have to be sent.
        """
        raise NotImplementedError

    def encrypt(self, data: Data) -> Data:
        """Everything to be sent when ``data`` is; valid until the next call on any pipe.

        :raises TlsFailure: the connection can take nothing.
        """
        raise NotImplementedError

    def outgoing(self) -> Data:
        """What has to be sent besides: handshake, alerts, key updates. Valid as ``encrypt``'s."""
        raise NotImplementedError

    def _failed(self, error: SSL.Error, behind_data: bool) -> None:
        """Reading failed: now, or with the next call when there is data to give first."""
        self.failure = explain(error)
        if not behind_data:
            raise TlsFailure(self.failure) from error
        self.more = True

    def close(self) -> None:
        """Produce a close_notify."""
        try:
            self.connection.shutdown()
        except SSL.Error:  # in the middle of a handshake, or broken: nobody waits for one
            pass


class PlainPipe(Pipe):
    """By the public interface of pyOpenSSL."""

    __slots__ = ()

    def decrypt(self, data: Data = b"") -> bytes:
        if self.failure:
            raise TlsFailure(self.failure)
        view = memoryview(data)
        parts: list[bytes] = []
        size = 0
        self.more = False
        connection = self.connection
        try:
            while True:
                if view:
                    connection.bio_write(view[:PIECE])
                    view = view[PIECE:]
                try:
                    while size < GATHER:
                        part = connection.recv(RECORD)
                        parts.append(part)
                        size += len(part)
                    self.more = True
                    self.feed(view)
                    break
                except SSL.WantReadError:
                    if not view:
                        break
        except SSL.ZeroReturnError:
            self.ended = True
        except SSL.Error as error:
            self._failed(error, bool(parts))
        return b"".join(parts)

    def encrypt(self, data: Data) -> Data:
        view = memoryview(data)
        parts = []
        try:
            while view:
                view = view[self.connection.send(view) :]
                parts.append(self.outgoing())
        except SSL.Error as error:
            raise TlsFailure(explain(error)) from error
        return b"".join(parts)

    def outgoing(self) -> Data:
        parts = []
        try:
            while True:
                parts.append(self.connection.bio_read(PIECE))
        except SSL.WantReadError:
            return b"".join(parts)


# The buffers of the process. No call out is made while one of them holds anything of value.
_ROOM = GATHER + RECORD  # a whole record always fits
if _ffi is not None:
    _plain = _ffi.new("char[]", _ROOM)
    _plain_bytes = _ffi.buffer(_plain)
    _cipher = _ffi.new("char[]", 2 * GATHER)
    _cipher_view = memoryview(_ffi.buffer(_cipher))
    _SSL_read, _SSL_write = _lib.SSL_read, _lib.SSL_write
    _SSL_do_handshake, _SSL_get_error = _lib.SSL_do_handshake, _lib.SSL_get_error
    _WANT_READ = _lib.SSL_ERROR_WANT_READ
    _BIO_read, _BIO_write = _lib.BIO_read, _lib.BIO_write
    _held: Any = _lib.BIO_get_mem_data  # how many bytes a memory BIO holds
    _NULL = _ffi.NULL
_ROUND = GATHER  # bytes of plaintext whose records surely fit into ``_cipher``


class FastPipe(Pipe):
    """By the binding that pyOpenSSL itself uses."""

    __slots__ = ("_in", "_out", "_ssl")

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._ssl = ssl = connection._ssl
        self._in = connection._into_ssl
        self._out = connection._from_ssl
        # One SSL_write makes all the records of a piece; buffers of an idle connection are freed.
        _lib.SSL_clear_mode(ssl, _lib.SSL_MODE_ENABLE_PARTIAL_WRITE)
        _lib.SSL_set_mode(ssl, _lib.SSL_MODE_RELEASE_BUFFERS)

    def feed(self, data: Data) -> None:
        _BIO_write(self._in, _ffi.from_buffer(data), len(data))

    def handshake(self) -> bool:
        result = _SSL_do_handshake(self._ssl)
        if result == 1:
            return True
        try:
            if not self._wants_bytes(result):
                self.connection._raise_ssl_error(self._ssl, result)
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            raise TlsFailure(explain(error)) from error
        return False

    def waiting(self) -> bool:
        return bool(_held(self._in, _NULL))

    def _wants_bytes(self, result: int) -> bool:
        """Whether a call gave nothing only because more has to arrive.

        What it asks is worth trusting only as long as the error queue is empty, as it nearly
        always is; the long way clears it.
        """
        return bool(_SSL_get_error(self._ssl, result) == _WANT_READ)

    def decrypt(self, data: Data = b"") -> bytes:
        if self.failure:
            raise TlsFailure(self.failure)
        ssl, into = self._ssl, self._in
        size = len(data)
        total = 0
        rest: Any = None
        self.more = False
        if size <= PIECE and type(data) is bytes:
            if size:
                _BIO_write(into, data, size)
        else:
            rest = memoryview(data)
            _BIO_write(into, _ffi.from_buffer(rest[:PIECE]), min(size, PIECE))
            rest = rest[PIECE:]
        while True:
            got = _SSL_read(ssl, _plain + total if total else _plain, _ROOM - total)
            if got > 0:
                total += got
                if total > GATHER:
                    self.more = True
                    if rest:
                        self.feed(rest)
                    break
                if _held(into, _NULL):
                    continue
            elif not self._wants_more(got, total):
                break
            if not rest:
                break
            data = rest[:PIECE]
            rest = rest[PIECE:]
            _BIO_write(into, _ffi.from_buffer(data), len(data))
        return _plain_bytes[:total] if total else b""  # a copy

    def _wants_more(self, result: int, total: int) -> bool:
        """Why ``SSL_read`` gave nothing: whether only because nothing is there."""
        if self._wants_bytes(result):
            return True
        try:
            self.connection._raise_ssl_error(self._ssl, result)
        except SSL.WantReadError:
            return True
        except SSL.ZeroReturnError:
            self.ended = True
        except SSL.Error as error:
            self._failed(error, total > 0)
        return False

    def encrypt(self, data: Data) -> Data:
        size = len(data)
        if size <= PIECE:
            whole = data if type(data) is bytes else _ffi.from_buffer(data)
            if size and _SSL_write(self._ssl, whole, size) != size:
                self._takes_nothing()
            return self.outgoing()
        view = memoryview(data)
        parts: list[bytes] = []
        while view:
            filled = 0
            for start in range(0, min(len(view), _ROUND), PIECE):
                piece = view[start : start + PIECE]
                if _SSL_write(self._ssl, _ffi.from_buffer(piece), len(piece)) != len(piece):
                    self._takes_nothing()
                filled += max(_BIO_read(self._out, _cipher + filled, 2 * GATHER - filled), 0)
            view = view[_ROUND:]
            if not view and not parts:
                return _cipher_view[:filled]
            parts.append(bytes(_cipher_view[:filled]))
        return b"".join(parts)

    def _takes_nothing(self) -> None:
        try:
            self.connection._raise_ssl_error(self._ssl, -1)
        except SSL.Error as error:
            raise TlsFailure(explain(error)) from error
        raise TlsFailure("the connection takes nothing")

    def outgoing(self) -> Data:
        got = _BIO_read(self._out, _cipher, 2 * GATHER)
        return _cipher_view[:got] if got > 0 else b""


def explain(error: SSL.Error) -> str:
    """OpenSSL's reason, the innermost first: "wrong version number"."""
    if isinstance(error, SSL.SysCallError):
        return str(error.args[-1]).lower()
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    reasons = [entry[-1] for entry in queue if entry[-1]]
    return "; ".join(dict.fromkeys(reasons)) or type(error).__name__


def verify_error(connection: Any) -> str:
    """Why the peer's chain was not accepted; empty when it was, or nobody looked."""
    if not available():
        return ""
    code = _lib.SSL_get_verify_result(connection._ssl)
    if not code:
        return ""
    text: bytes = _ffi.string(_lib.X509_verify_cert_error_string(code))
    return text.decode("ascii", "replace")


def session_reused(connection: Any) -> bool:
    """Whether a session was resumed; False where that can not be known."""
    return available() and bool(_lib.SSL_session_reused(connection._ssl))


_FUNCTIONS = {
    "SSL_read": "int(*)(SSL *, void *, int)",
    "SSL_write": "int(*)(SSL *, void *, int)",
    "SSL_do_handshake": "int(*)(SSL *)",
    "SSL_get_error": "int(*)(SSL *, int)",
    "BIO_read": "int(*)(BIO *, void *, int)",
    "BIO_write": "int(*)(BIO *, void *, int)",
    "BIO_get_mem_data": "long(*)(BIO *, char * *)",
    "SSL_set_mode": "long(*)(SSL *, long)",
    "SSL_clear_mode": "long(*)(SSL *, long)",
    "SSL_get_verify_result": "long(*)(SSL *)",
    "SSL_session_reused": "int(*)(SSL *)",
    "X509_verify_cert_error_string": "char *(*)(long)",
}


def mismatches() -> list[str]:
    """What the installed pyOpenSSL lacks of the internals relied upon; empty when all is well."""
    if _lib is None:
        return ["OpenSSL._util has no lib and ffi"]
    found = []
    for name, wanted in _FUNCTIONS.items():
        function = getattr(_lib, name, None)
        actual = _ffi.typeof(function).cname if function is not None else "missing"
        if actual.replace("const ", "") != wanted:
            found.append(f"{name} is {actual}, not {wanted}")
    found += [
        f"the binding has no {name}"
        for name in (
            "SSL_MODE_ENABLE_PARTIAL_WRITE",
            "SSL_MODE_RELEASE_BUFFERS",
            "SSL_ERROR_WANT_READ",
        )
        if not hasattr(_lib, name)
    ]
    if not found:
        connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
        found += [
            f"OpenSSL.SSL.Connection has no {name}"
            for name in ("_ssl", "_into_ssl", "_from_ssl", "_raise_ssl_error")
            if getattr(connection, name, None) is None
        ]
    return found


_AVAILABLE = not mismatches()


def available() -> bool:
    """Whether the installed pyOpenSSL is one that the fast pipe fits."""
    return _AVAILABLE


def make_pipe(connection: SSL.Connection) -> Pipe:
    """The fastest pipe that there is here; the connection must be one on memory BIOs."""
    return FastPipe(connection) if _AVAILABLE else PlainPipe(connection)
