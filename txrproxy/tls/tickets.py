"""The keys that session tickets are sealed with: the same in all processes of a proxy.

OpenSSL makes keys with each context, and nothing of what we can call sets them. But a context that
was made before a fork has the same keys in every child. So the contexts that connections are *made
from*, which is what seals and opens tickets, are made here, once for each kind: by the main process
before there are workers. A connection is then switched to the context of its listener, with its
session id context, which keeps the sessions of listeners apart though their keys are the same.
"""

from __future__ import annotations

from typing import get_args

from OpenSSL import SSL

from txrproxy.tls.profiles import PROFILES, VERSIONS, ProfileName, new_context, stricter

_made: dict[tuple[ProfileName, str], SSL.Context] = {}


def sealing(profile: ProfileName, min_version: str = "1.2") -> SSL.Context:
    """The context to make connections of a kind from; the same for as long as the process lives."""
    kind = profile, stricter(min_version, PROFILES[profile].min_version)
    if kind not in _made:
        _made[kind] = new_context(*kind)
    return _made[kind]


def make_all() -> None:
    """Make those of every kind, for processes that are forked from now on."""
    for profile in get_args(ProfileName):
        for version in VERSIONS:
            sealing(profile, version)
