"""Runs a command under the system call filter of a unit, as systemd would: ``UNIT COMMAND...``.

What is not allowed ends the process, whatever ``SystemCallErrorNumber`` says: a test is to see it.
Needs systemd-analyze, for what the sets of systemd stand for, and libseccomp.
"""

import ctypes
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

KILL_PROCESS = 0x80000000  # of seccomp.h
ALLOW = 0x7FFF0000
UNSUPPORTED = 77  # exit status where this machine has no such filters


@cache
def members(name: str) -> frozenset[str]:
    """The calls of a set such as ``@system-service``; a call is one of its own."""
    if not name.startswith("@"):
        return frozenset({name})
    said = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", name],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    words = [line.strip() for line in said.splitlines()[1:]]
    return frozenset().union(*(members(word) for word in words if word and word[0] != "#"))


def allowed(unit: str) -> frozenset[str]:
    """systemd.exec(5): lines add, or take away with a tilde, in their order."""
    calls = members("@default")
    for line in Path(unit).read_text("utf-8").splitlines():
        key, _, value = line.partition("=")
        if key == "SystemCallFilter":
            named = frozenset().union(*map(members, value.removeprefix("~").split()))
            calls = calls - named if value.startswith("~") else calls | named
    return calls


def confine(calls: frozenset[str]) -> None:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    rule = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint]
    library.seccomp_rule_add.argtypes = rule
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    filters = library.seccomp_init(KILL_PROCESS)
    for name in calls:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            library.seccomp_rule_add(filters, ALLOW, number, 0)
    if library.seccomp_load(filters):
        raise OSError("seccomp_load")


if __name__ == "__main__":
    try:
        confine(allowed(sys.argv[1]))
    except (OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        sys.exit(UNSUPPORTED)
    os.execv(sys.argv[2], sys.argv[2:])
