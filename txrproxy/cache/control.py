"""The owner's socket: what a person asks of a cache while the proxy runs.

``txrproxy cache`` works on a folder. Its owner listens on the Unix socket ``control`` in it, and
does what is asked as if its own code had: a purge is in force in the whole proxy before the
answer comes back. A folder without an owner is opened by the command itself.

One line of JSON for a question, one for its answer. Bytes are text in Latin-1. The socket is for
the user that the proxy runs as: mode 600, in a folder of mode 700.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver

from txrproxy.cache.disk import Folder
from txrproxy.cache.index import Record
from txrproxy.cache.jobs import Inline
from txrproxy.cache.key import NotUrl, written_prefix, written_url
from txrproxy.cache.purge import Purge, Purged
from txrproxy.cache.store import Store
from txrproxy.cache.stored import Stored

NAME = "control"
MAX_QUESTION = 64 * 1024
MAX_LISTED = 100_000
_SPELLED = {"url": written_url, "prefix": written_prefix}
_PATIENCE = 600.0  # seconds that the command waits: a purge may have to wait for the index

Answer = dict[str, Any]


_Told = Callable[[Any, BaseException | None], None]


class Asked(Protocol):
    """A store that owns its folder, or who keeps one for others; see :class:`Store`."""

    folder: Folder

    def purge(self, purge: Purge, done: _Told) -> None: ...

    def preview(self, purge: Purge, done: _Told) -> None: ...

    def listing(self, prefix: bytes, limit: int, done: _Told) -> None: ...

    def show(self, url: bytes, done: _Told) -> None: ...

    def stats(self, done: _Told) -> None: ...


class NoOwner(Exception):
    """The folder can neither be had nor asked about; the text says why."""


class Silent(NoOwner):
    """It has an owner, which does not answer."""


def answer(store: Asked, question: Answer, done: Callable[[Answer], object]) -> None:
    """Ask the store; ``done`` is called with what to say."""

    def told(result: Any, error: BaseException | None) -> None:
        if error is not None:
            text = str(error) or "the cache's folder is not in use by this process"
            done({"error": text})
        else:
            done({"result": _plain(result)})

    try:
        what = question["ask"]
        if what in ("purge", "preview"):
            kind, value = question["kind"], question.get("value", "").encode("latin-1")
            if kind in _SPELLED:
                value = _SPELLED[kind](value)
            purge = Purge(kind, value, bool(question.get("soft", False)))
            (store.purge if what == "purge" else store.preview)(purge, told)
        elif what == "ls":
            limit = min(max(int(question.get("limit", 1000)), 0), MAX_LISTED)
            prefix = written_prefix(question.get("prefix", "").encode("latin-1"))
            store.listing(prefix, limit, told)
        elif what == "show":
            store.show(written_url(question["url"].encode("latin-1")), told)
        elif what == "stats":
            store.stats(told)
        else:
            raise ValueError(f"no such question: {what}")
    except NotUrl as error:
        done({"error": str(error)})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        done({"error": f"a question that makes no sense: {error}"})


def _plain(result: Any) -> Any:
    if isinstance(result, Purged):
        return {"count": result.count, "size": result.size}
    if isinstance(result, Record):
        return {
            "url": (result.url or b"").decode("latin-1"),
            "key": result.key.decode("latin-1"),
            "size": result.size,
            "status": result.status,
            "responded": result.responded,
            "invalidated": result.invalidated,
            "tags": [tag.decode("latin-1") for tag in result.tags],
        }
    if isinstance(result, Stored):
        return {
            "url": result.url.decode("latin-1"),
            "key": result.key.decode("latin-1"),
            "head": (result.head.status_line + result.head.fields.block).decode("latin-1"),
            "length": result.length,
            "requested": result.requested,
            "responded": result.responded,
            "invalidated": result.invalidated,
            "vary": [name.decode("latin-1") for name in result.vary],
            "variant": result.variant.decode("latin-1"),
            "tags": [tag.decode("latin-1") for tag in result.tags],
        }
    if isinstance(result, list):
        return [_plain(item) for item in result]
    return result


class Control(LineOnlyReceiver):
    """One connection of a command."""

    delimiter = b"\n"
    MAX_LENGTH = MAX_QUESTION

    def __init__(self, store: Asked) -> None:
        self._store = store

    def lineReceived(self, line: bytes) -> None:
        try:
            question = json.loads(line)
        except ValueError:
            question = None
        if not isinstance(question, dict):
            self._say({"error": "a question that is not JSON"})
            return
        answer(self._store, question, self._say)

    def _say(self, result: Answer) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.write(json.dumps(result).encode("ascii") + b"\n")


class ControlFactory(Factory):
    """Listens for commands; see :func:`listen`."""

    noisy = False

    def __init__(self, store: Asked) -> None:
        self._store = store

    def buildProtocol(self, addr: Any) -> Control:
        return Control(self._store)


class Listening:
    """The owner's open socket; stop it before the folder is given up."""

    def __init__(self, folder: str, factory: ControlFactory, reactor: Any) -> None:
        path = os.path.join(folder, NAME)
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)
        # The port goes by the name that it was bound to for as long as it lives.
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as sock:
                sock.bind(_short(self._folder))
                sock.listen(8)
                sock.setblocking(False)
                self._port = reactor.adoptStreamPort(sock.fileno(), socket.AF_UNIX, factory)
            os.chmod(path, 0o600)
        except BaseException:
            os.close(self._folder)
            raise

    def stopListening(self) -> Deferred[None]:
        def closed(result: Any) -> Any:
            os.close(self._folder)
            return result

        stopping: Deferred[None] = maybeDeferred(self._port.stopListening)
        return stopping.addBoth(closed)


def listen(store: Asked, reactor: Any) -> Listening:
    """Listen on the socket of a store that owns its folder. Raises OSError.

    The socket that another process left is replaced: it is the lock that says who owns the folder.
    """
    return Listening(store.folder.path, ControlFactory(store), reactor)


def _short(folder: int) -> str:
    """A path to the socket that fits into an address, however deep the folder is."""
    return f"/proc/self/fd/{folder}/{NAME}"


# The command's side: it may wait.


def ask(folder: str, question: Answer) -> Any:
    """Ask the owner of a folder, or the folder itself.

    Raises :class:`NoOwner`, of which :class:`Silent` is one kind, ValueError with what the answer
    says is wrong, OSError.
    """
    if not os.path.isdir(folder):
        raise NoOwner(f"{folder}: no such folder")
    if not Folder(folder).exists():
        raise NoOwner(f"{folder}: nothing has been stored in this folder")
    try:
        said = _ask_owner(folder, question)
    except (ConnectionRefusedError, FileNotFoundError):
        said = _ask_files(folder, question)
    if "error" in said:
        raise ValueError(said["error"])
    return said["result"]


def _ask_owner(folder: str, question: Answer) -> Answer:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as sock:
        sock.settimeout(_PATIENCE)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.connect(_short(fd))
        finally:
            os.close(fd)
        sock.sendall(json.dumps(question).encode("ascii") + b"\n")
        with sock.makefile("rb") as file:
            line = file.readline()
    if not line:
        raise Silent(f"{folder}: the proxy closed the connection")
    said = json.loads(line)
    assert isinstance(said, dict)
    return said


class _NoClock:
    """For a store that lives for one question."""

    @staticmethod
    def seconds() -> float:
        return 0.0

    @staticmethod
    def callLater(*_: object) -> None:
        return None


def _ask_files(folder: str, question: Answer) -> Answer:
    store = Store(
        folder,
        max_size=2**62,
        max_object=0,
        memory=0,
        clock=_NoClock,
        deliver=lambda function, *arguments: function(*arguments),
        owner_thread=Inline(),
        reader_threads=Inline(),
    )
    if not store.owner.open():
        store.owner.close()
        raise Silent(f"{folder}: another process owns it and does not answer")
    answers: list[Answer] = []
    try:
        while store.owner.step():
            pass
        answer(store, question, answers.append)
    finally:
        store.owner.close()
    (said,) = answers
    if question.get("ask") == "stats" and "result" in said:
        # The rest is of a proxy, and of the moment.
        said["result"] = {name: said["result"][name] for name in ("responses", "size")}
    return said
