"""What the owner knows of the files: how much there is, what goes first, what has which tag.

The files are the truth and the index is a convenience: it can be lost at any time and is then made
anew from them. So SQLite writes ahead without ever waiting for the disk (``synchronous = OFF``): a
process that is killed loses nothing, and what a power failure breaks is found broken and dropped.

The order of eviction is that of a queue with second chances: what was used since it came in, or
since its last chance, goes back to the end once. A use is one flag, noted in batches.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from attrs import frozen

from txrproxy.cache.purge import Purge, Purged
from txrproxy.cache.stored import Stored

_VERSION = 1
_SCHEMA = """
CREATE TABLE entries (
    name TEXT PRIMARY KEY, key BLOB NOT NULL, url BLOB, size INTEGER NOT NULL,
    status INTEGER NOT NULL, responded REAL NOT NULL, invalidated INTEGER NOT NULL,
    used INTEGER NOT NULL DEFAULT 0, turn INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX by_turn ON entries (turn);
CREATE INDEX by_url ON entries (url);
CREATE TABLE tags (tag BLOB NOT NULL, name TEXT NOT NULL, PRIMARY KEY (tag, name)) WITHOUT ROWID;
CREATE INDEX by_name ON tags (name);
CREATE TABLE state (complete INTEGER NOT NULL, clean INTEGER NOT NULL);
INSERT INTO state VALUES (0, 1);
"""

_CACHE = 8192  # KiB of pages that SQLite keeps
_CHECKPOINT = 256  # pages that are written ahead
_BESIDE = 512  # bytes that an entry takes in the index and in its folder
_COST = f"((size + 4095) / 4096 * 4096 + {_BESIDE})"


def cost(size: int) -> int:
    """Bytes of disk that a file of ``size`` bytes takes, with its row and its name."""
    return -(-size // 4096) * 4096 + _BESIDE


@frozen
class Record:
    """The row of one file. ``size`` is that of the file; a marker has no ``url``."""

    name: str
    key: bytes
    url: bytes | None
    size: int
    status: int = 0
    responded: float = 0.0
    invalidated: bool = False
    tags: tuple[bytes, ...] = ()


def record_of(name: str, stored: Stored, size: int) -> Record:
    """The row of a response in a file of ``size`` bytes."""
    return Record(
        name,
        stored.key,
        stored.url,
        size,
        stored.head.status,
        stored.responded,
        stored.invalidated,
        stored.tags,
    )


def _keep_private(path: str) -> None:
    """Make the file before SQLite does, whose others have the mode of this one."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(fd, 0o600)
    finally:
        os.close(fd)


class Index:
    """The rows in a file. Raises sqlite3.DatabaseError when that is not what it should be."""

    def __init__(self, path: str) -> None:
        self._path = path
        _keep_private(path)
        self._db = db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")
            self._tune(_CACHE, _CHECKPOINT)
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if not version:
                db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
            elif version != _VERSION:
                raise sqlite3.DatabaseError("an index of another version")
            complete, clean = db.execute("SELECT complete, clean FROM state").fetchone()
            self.complete = bool(complete)
            self.clean = bool(clean)
            db.execute("UPDATE state SET clean = 0")
            (last,) = db.execute("SELECT max(turn) FROM entries").fetchone()
            self._turn = max(0, last or 0)
        except BaseException:
            db.close()
            raise

    @staticmethod
    def delete(path: str) -> None:
        for end in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(path + end)

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._db.execute("UPDATE state SET clean = 1")
        self._db.close()

    def abandon(self) -> None:
        """Close without saying that it agrees with the files."""
        self._db.close()

    def set_complete(self) -> None:
        self._db.execute("CREATE INDEX IF NOT EXISTS by_url ON entries (url)")
        self._db.execute("UPDATE state SET complete = 1")
        self._tune(_CACHE, _CHECKPOINT)
        self.complete = self.clean = True

    def make_anew(self) -> None:
        """Many rows will come: what nobody asks for before they are complete is made at the end."""
        self._db.execute("DROP INDEX IF EXISTS by_url")
        self._tune(8 * _CACHE, 16 * _CHECKPOINT)

    def _tune(self, cache: int, checkpoint: int) -> None:
        self._db.execute(f"PRAGMA cache_size = -{cache}")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {checkpoint}")

    def begin(self) -> None:
        """What is done from now on is one transaction, until :meth:`commit`."""
        if not self._db.in_transaction:
            self._db.execute("BEGIN")

    def commit(self) -> None:
        if self._db.in_transaction:
            self._db.execute("COMMIT")

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is done inside is one transaction; one inside another is part of it."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self.commit()  # what ran inside may have done so

    # Rows.

    def total(self) -> int:
        """Bytes on disk."""
        return int(self._one(f"SELECT coalesce(sum({_COST}), 0) FROM entries"))

    def size_of(self, name: str) -> int | None:
        """The size of the file as it was recorded."""
        found = self._db.execute("SELECT size FROM entries WHERE name = ?", (name,)).fetchone()
        return found[0] if found else None

    def response_size(self, name: str) -> int:
        """The same, but 0 for a marker and for what is not known."""
        found = self._db.execute(
            "SELECT size FROM entries WHERE name = ? AND url IS NOT NULL", (name,)
        ).fetchone()
        return found[0] if found else 0

    def put(self, record: Record, turn: int | None = None, known: bool = True) -> None:
        """Add the row, or replace it: as the youngest, or with a ``turn`` below 0 as older.

        ``known`` is whether there may be one already.
        """
        if turn is None:
            self._turn = turn = self._turn + 1
        self._db.execute(
            "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)",
            (
                record.name,
                record.key,
                record.url,
                record.size,
                record.status,
                record.responded,
                record.invalidated,
                turn,
            ),
        )
        if known:
            self._db.execute("DELETE FROM tags WHERE name = ?", (record.name,))
        if record.tags:
            self._db.executemany(
                "INSERT OR IGNORE INTO tags VALUES (?, ?)",
                [(tag, record.name) for tag in record.tags],
            )

    def remove(self, name: str) -> int:
        """Take out the row; returns the size it had, or -1."""
        size = self.size_of(name)
        if size is None:
            return -1
        self._db.execute("DELETE FROM entries WHERE name = ?", (name,))
        self._db.execute("DELETE FROM tags WHERE name = ?", (name,))
        return size

    def names(self, folder: str) -> dict[str, int]:
        """The rows of the files in one folder, with their sizes."""
        rows = self._db.execute(
            "SELECT name, size FROM entries WHERE name >= ? AND name < ?",
            (f"{folder}/", f"{folder}0"),
        )
        return dict(rows.fetchall())

    def use(self, names: Iterable[str]) -> None:
        """These were used."""
        with self.together():
            self._db.executemany(
                "UPDATE entries SET used = 1 WHERE name = ? AND used = 0", [(n,) for n in names]
            )

    def next_out(self, count: int) -> list[tuple[str, int, bool]]:
        """The names first in the queue, with their sizes and whether they were used."""
        rows = self._db.execute(
            "SELECT name, size, used FROM entries ORDER BY turn LIMIT ?", (count,)
        )
        return [(name, size, bool(used)) for name, size, used in rows.fetchall()]

    def send_back(self, name: str) -> None:
        """To the end of the queue, as unused."""
        self._turn += 1
        self._db.execute("UPDATE entries SET used = 0, turn = ? WHERE name = ?", (self._turn, name))

    def set_invalidated(self, name: str) -> None:
        self._db.execute("UPDATE entries SET invalidated = 1 WHERE name = ?", (name,))

    # Questions.

    def select(self, purge: Purge) -> list[str]:
        """The names of the files that a purge takes; markers too, if it takes all."""
        if purge.kind == "all":
            rows = self._db.execute("SELECT name FROM entries")
        else:
            where, values = _where(purge)
            rows = self._db.execute(f"SELECT name FROM entries WHERE {where}", values)
        return [name for (name,) in rows.fetchall()]

    def count(self, purge: Purge) -> Purged:
        where, values = _where(purge)
        sql = f"SELECT count(*), coalesce(sum(size), 0) FROM entries WHERE {where}"
        return Purged(*self._db.execute(sql, values).fetchone())

    def listing(self, prefix: bytes, limit: int) -> list[Record]:
        """Responses whose URL begins with ``prefix``, in the order of their URLs."""
        where, values = _where(Purge("prefix", prefix))
        rows = self._db.execute(
            "SELECT name, key, url, size, status, responded, invalidated FROM entries "
            f"WHERE {where} ORDER BY url LIMIT ?",
            (*values, limit),
        )
        return [
            Record(name, key, url, size, status, responded, bool(invalidated), self._tags(name))
            for name, key, url, size, status, responded, invalidated in rows.fetchall()
        ]

    def responses(self) -> int:
        return int(self._one("SELECT count(*) FROM entries WHERE url IS NOT NULL"))

    def _tags(self, name: str) -> tuple[bytes, ...]:
        rows = self._db.execute("SELECT tag FROM tags WHERE name = ? ORDER BY tag", (name,))
        return tuple(tag for (tag,) in rows.fetchall())

    def _one(self, sql: str) -> Any:
        return self._db.execute(sql).fetchone()[0]


def _where(purge: Purge) -> tuple[str, Sequence[Any]]:
    value = purge.value
    if purge.kind == "key":
        return "key = ? AND url IS NOT NULL", (value,)
    if purge.kind == "url":
        return "url = ?", (value,)
    if purge.kind == "tag":
        return "name IN (SELECT name FROM tags WHERE tag = ?)", (value,)
    if purge.kind == "all" or not value:
        return "url IS NOT NULL", ()
    # The end of the range: the prefix with its last byte that can grow made one larger.
    stem = value.rstrip(b"\xff")
    if not stem:
        return "url >= ?", (value,)
    return "url >= ? AND url < ?", (value, stem[:-1] + bytes([stem[-1] + 1]))


@contextmanager
def as_os_error() -> Iterator[None]:
    """SQLite's trouble with the disk is trouble with the disk."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        raise OSError(_ERRNO.get(code, errno.EIO), f"index: {error}") from error


_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
}
