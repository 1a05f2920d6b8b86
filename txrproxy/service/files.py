"""The bound on open files: raised as far as it goes, and held against what may be needed."""

from __future__ import annotations

import resource

from txrproxy.config.schema import Config

BESIDES = 256  # descriptors of a process that are no connections: libraries, logs, channels

_UNBOUND = frozenset({resource.RLIM_INFINITY, -1})


def needed(config: Config, sockets: int) -> int:
    """Descriptors of one worker when it has all connections it may have, each with a backend's."""
    keep = sum(len(pool.backends) * pool.keepalive.idle for pool in config.pools.values())
    return 2 * config.server.max_connections + keep + sockets + BESIDES


def raise_limit(wanted: int) -> str:
    """Raise the limit of this process and its children; a warning if it stays below ``wanted``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A privileged process may go beyond the hard limit, anybody as far as that.
    for limit in [wanted, hard] if _below(hard, wanted) else [hard]:
        if soft != limit and _set(limit):
            soft = limit
            break
    if not _below(soft, wanted):
        return ""
    return (
        f"at most {soft} files may be open, and server.max_connections may need {wanted}: raise "
        f"the limit (LimitNOFILE={wanted} in the unit, or ulimit -n {wanted}) or lower the key"
    )


def _below(limit: int, wanted: int) -> bool:
    return limit not in _UNBOUND and limit < wanted


def _set(limit: int) -> bool:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    except (OSError, ValueError):
        return False
    return True
