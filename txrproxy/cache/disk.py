"""The folder of a cache, as names and files.

::

    objects/a/b/…   responses and markers, by the hash of their key: one hex digit a level
    tmp/…/          what is being written, a folder for each process
    index.sqlite    the owner's index
    lock            held by the owner for as long as it lives
    control         the owner's socket

A file is written in ``tmp`` and renamed into its place, so a name in ``objects`` always leads to a
whole file, and who has one open keeps it whatever happens to the name. Locks are those of
``flock(2)``: they end with their process, however that ends, so what a dead process left in ``tmp``
is known by its lock being free.

256 folders: a hundred thousand objects are 400 in each, and empty they take 1 MiB themselves.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from secrets import token_hex

DIGITS = "0123456789abcdef"
FOLDERS = tuple(f"{a}/{b}" for a in DIGITS for b in DIGITS)

_NAME = re.compile(r"[0-9a-f]{30}(\.[0-9a-f]{16})?")
_PROCESS = re.compile(r"[0-9a-f]{16}(\.new)?")  # a folder in tmp
# Somebody may have put a pipe in the place of a file: opening it is not to wait for who writes.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Folder:
    """One cache's folder. Every method may block, and may raise OSError.

    A process may read without :meth:`prepare`; writing needs it.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.objects = os.path.join(self.path, "objects", "")
        self.index = os.path.join(self.path, "index.sqlite")
        self._temporary = ""
        self._held: list[int] = []  # descriptors that hold our locks
        self._owner = -1
        self._count = 0

    def exists(self) -> bool:
        """Whether it has been made by :meth:`prepare`."""
        return os.path.isdir(self.objects)

    def prepare(self) -> None:
        """Make the folders, and take away what dead processes were writing."""
        if self._temporary:
            return
        os.makedirs(self.objects, 0o700, exist_ok=True)
        parent = os.path.join(self.path, "tmp")
        os.makedirs(parent, 0o700, exist_ok=True)
        for name in os.listdir(parent):
            # Who configures "/var" has files of others in its tmp.
            if _PROCESS.fullmatch(name):
                _sweep(os.path.join(parent, name))
        while not self._temporary:
            # Until it is locked, another process may take it for a dead one's.
            with suppress(FileNotFoundError):
                self._temporary = self._make(os.path.join(parent, token_hex(8)))

    def _make(self, mine: str) -> str:
        """A folder of our own. Raises FileNotFoundError when another process took it away."""
        making = f"{mine}.new"
        os.mkdir(making, 0o700)
        fd = os.open(making, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.rename(making, mine)
        except BaseException:
            os.close(fd)
            raise
        self._held.append(fd)
        return mine

    def own(self) -> bool:
        """Become the owner; False while another process is."""
        if self._owner < 0:
            path = os.path.join(self.path, "lock")
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return False
            self._owner = fd
        return True

    def close(self) -> None:
        """Let go of the locks, and of what was being written."""
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = ""
        if self._owner >= 0:
            self._held.append(self._owner)
            self._owner = -1
        while self._held:
            os.close(self._held.pop())

    def open(self, name: str) -> int:
        """A descriptor to read what ``name`` leads to."""
        return os.open(self.objects + name, _READ)

    def path_of(self, name: str) -> str:
        return self.objects + name

    def temporary(self) -> tuple[int, str]:
        """A new file to write, and its path."""
        self._count += 1
        path = f"{self._temporary}/{self._count}"
        return os.open(path, _NEW, 0o600), path

    def publish(self, path: str, name: str) -> None:
        """Put the finished file ``path`` in the place of ``name``."""
        target = self.objects + name
        try:
            os.rename(path, target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
            os.rename(path, target)

    def remove(self, name: str) -> bool:
        """Whether there was one."""
        try:
            os.unlink(self.objects + name)
        except FileNotFoundError:
            return False
        return True

    def of_key(self, primary: str) -> list[str]:
        """The names of everything stored under the key with this primary name."""
        folder, _, stem = primary.rpartition("/")
        try:
            files = os.listdir(self.objects + folder)
        except FileNotFoundError:
            return []
        return [f"{folder}/{file}" for file in files if file.startswith(stem)]

    def scan(self, folder: str) -> Iterator[tuple[str, os.stat_result]]:
        """What is in one of :data:`FOLDERS`; what no cache could have put there is removed."""
        try:
            found = os.scandir(self.objects + folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        with found:
            for item in found:
                if item.is_dir(follow_symlinks=False):
                    continue
                if not item.is_file(follow_symlinks=False) or not _NAME.fullmatch(item.name):
                    os.unlink(item.path)
                    continue
                with suppress(FileNotFoundError):
                    yield f"{folder}/{item.name}", item.stat(follow_symlinks=False)


def _sweep(path: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(fd)
