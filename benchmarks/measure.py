"""What a process and its children have cost so far, as the kernel accounts it in /proc.

CPU time of one process holds on a busy machine, where requests a second do not: that is why the
benchmark's figure is CPU time per request and everything else is beside it.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True)
class Stat:
    """The fields of /proc/PID/stat (proc(5)) that matter here; ``ticks`` is user + system."""

    parent: int
    ticks: int


@dataclass(frozen=True)
class Usage:
    """CPU time since start, resident memory now and at its highest, over a process family.

    Memory is the sum over the processes, so pages they share count in each.
    """

    cpu_seconds: float
    resident_kib: int
    peak_kib: int


def parse_stat(text: str) -> Stat:
    """Read one /proc/PID/stat line.

    Time of children that ended and were waited for (cutime, cstime) is included: a worker that
    is replaced takes nothing off the bill. Living children are no part of it.
    """
    fields = text[text.rindex(")") + 2 :].split()  # the command name may hold spaces and brackets
    return Stat(parent=int(fields[1]), ticks=sum(map(int, fields[11:15])))


def parse_status(text: str) -> tuple[int, int]:
    """Resident and peak memory in KiB of one /proc/PID/status; zeros for a process without any."""

    def kib(name: str) -> int:
        found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
        return int(found[1]) if found else 0

    return kib("VmRSS"), kib("VmHWM")


def descendants(pid: int, stats: Mapping[int, Stat]) -> list[int]:
    """``pid`` and all below it."""
    children = defaultdict(list)
    for child, stat in stats.items():
        children[stat.parent].append(child)
    family = [pid]
    for member in family:  # grows while it is walked
        family += children[member]
    return family


def family_stats(pid: int) -> dict[int, Stat]:
    """The living processes of the family of ``pid``."""
    stats = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, ValueError):  # it ended meanwhile
                stats[int(entry.name)] = parse_stat((entry / "stat").read_text())
    return {member: stats[member] for member in descendants(pid, stats) if member in stats}


def usage(pid: int) -> Usage:
    """What the family of ``pid`` has used; a process that ends meanwhile counts as nothing."""
    ticks = resident = peak = 0
    for member, stat in family_stats(pid).items():
        ticks += stat.ticks
        with suppress(OSError):
            now, highest = parse_status((_PROC / str(member) / "status").read_text())
            resident += now
            peak += highest
    return Usage(ticks / _TICKS_PER_SECOND, resident, peak)


def busiest(pid: int) -> int:
    """The process of the family that has used most CPU: the one to profile."""
    stats = family_stats(pid)
    return max(stats, key=lambda member: stats[member].ticks, default=pid)
