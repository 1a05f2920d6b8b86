"""A store to test: in a folder of its own, without threads unless a test wants to wait."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.cache.jobs import Inline
from txrproxy.cache.purge import Purge, Purged
from txrproxy.cache.reading import Copy
from txrproxy.cache.store import Pending, Store
from txrproxy.cache.stored import Stored
from txrproxy.http.fields import EMPTY, Fields, parse_fields
from txrproxy.http.head import parse_response_head

HEAD = parse_response_head(b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Type: text/plain')


def response(key: bytes = b"key", **given: Any) -> Stored:
    values = {"url": b"http://example.com/" + key, "head": HEAD, "length": 0}
    values |= {"requested": 10.0, "responded": 11.0}
    return Stored(key, **values | given)


def variant(vary: Iterable[bytes], fields: Fields) -> bytes:
    """As the policy's, but simple: the values as they are."""
    return b"\0".join(b",".join(fields.all(name)) for name in vary)


class Later:
    """Runs jobs when it is told to."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Callable[[], Any], Any]] = []

    def submit(self, job: Callable[[], Any], done: Any = None) -> None:
        self.jobs.append((job, done))

    def run(self, most: int = -1) -> None:
        """Run what is there, or the first ``most``."""
        inline = Inline()
        while self.jobs and most:
            most -= 1
            inline.submit(*self.jobs.pop(0))

    def close(self) -> None:
        self.run()

    def end(self) -> None:
        self.run()


def unopened_store(path: str, **given: Any) -> Store:
    values: dict[str, Any] = {"max_size": 64 << 20, "max_object": 32 << 20, "memory": 1 << 20}
    values |= {"clock": Clock(), "deliver": None, "name": "cache test"}
    values |= {"owner_thread": Inline(), "reader_threads": Inline()}
    return Store(path, **values | given)


def make_store(path: str, **given: Any) -> Store:
    store = unopened_store(path, **given)
    opened: list[bool] = []
    store.open(lambda: opened.append(True))
    if not isinstance(given.get("owner_thread"), Later):
        assert opened
        while store.owner.step():
            pass
    return store


def put(store: Store, stored: Stored, body: bytes, piece: int = 100_000) -> Stored | None:
    """Store a whole response."""
    fill = store.fill(stored, len(body))
    if fill is None:
        return None
    for start in range(0, len(body), piece):
        fill.write(body[start : start + piece])
    return fill.commit()


def find(store: Store, key: bytes = b"key", fields: bytes = b"") -> Copy | None:
    """What is found, when all jobs run at once."""
    later: list[Copy | None] = []
    found = store.find(key, parse_fields(fields) if fields else EMPTY, variant, later.append)
    if isinstance(found, Pending):
        (found,) = later
    return found


def body_of(copy: Copy | None) -> bytes | None:
    """The whole body, read piece by piece; None if it proves to be damaged on the way."""
    if copy is None:
        return None
    data = b""
    while len(data) < copy.length:
        later: list[bytes] = []
        piece = copy.read(len(data), 300_000, later.append)
        if piece is None:
            (piece,) = later
        if not piece:
            copy.close()
            return None
        data += piece
    copy.close()
    return data


def look(store: Store, key: bytes = b"key", fields: bytes = b"") -> bytes | None:
    """The body that is found."""
    return body_of(find(store, key, fields))


def purge(store: Store, kind: str, value: bytes = b"", soft: bool = False) -> Purged:
    results: list[Any] = []
    store.purge(Purge(kind, value, soft), lambda *result: results.append(result))
    ((purged, error),) = results
    if error is not None:
        raise error
    return purged


def files(store: Store) -> list[str]:
    """The paths of everything that is stored."""
    return sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(store.folder.objects)
        for name in names
    )


def temporary(store: Store) -> list[str]:
    """What is being written."""
    return [name for _, _, names in os.walk(store.folder._temporary) for name in names]


def disk_use(path: str) -> int:
    """Bytes that the files in a folder take, those that are being written too."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            if not name.startswith("index"):
                total += os.stat(os.path.join(folder, name)).st_blocks * 512
    return total


class StoreTestCase(SynchronousTestCase):
    """With a store in a folder, and what it says in the log."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.said: list[str] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(lambda: globalLogPublisher.removeObserver(self._observe))
        self.store = make_store(self.path)
        self.addCleanup(self.close)

    def close(self) -> None:
        self.store.close()

    def _observe(self, event: Any) -> None:
        if event.get("log_namespace", "").startswith("txrproxy.cache"):
            self.said.append(formatEvent(event))

    def again(self, **given: Any) -> None:
        """Restart."""
        self.store.close()
        self.store = make_store(self.path, **given)

    def forget(self) -> None:
        """Empty the tier in memory."""
        self.store.memory.clear()
