"""The keys that session tickets are sealed with: the same in all processes of a proxy, for a week.

OpenSSL makes keys with each context, and nothing of what we can call sets them. But a context that
was made before a fork has the same keys in every child. So the contexts that connections are *made
from*, which is what seals and opens tickets, are made here, once for each kind: by the main process
before there are workers. A connection is then switched to the context of its listener, with its
session id context, which keeps the sessions of listeners apart though their keys are the same.

Who gets hold of a key can read the connections of TLS 1.2 that were recorded while it was in use,
so none is used for long (RFC 9325 section 3.4). Those for the weeks to come are made before the
fork as well: a process forgets the first of them when its week is over, and all do so by the same
clock. Knowing the keys of the future tells nothing of the past.
"""

from __future__ import annotations

from typing import get_args

from OpenSSL import SSL
from twisted.logger import Logger

from txrproxy.tls.profiles import PROFILES, VERSIONS, ProfileName, new_context, stricter

LIFE = 7 * 86400.0  # seconds that a key is used
AHEAD = 26  # keys made before the fork, of each kind: 14 KiB each

_Kind = tuple[ProfileName, str]
_logger = Logger()


class Keys:
    """The contexts of each kind, the first of each being the one in use.

    What a process makes for itself alone is renewed as it is needed; what was made :meth:`ahead`
    is shared by all that were forked afterwards.
    """

    def __init__(self) -> None:
        self._made: dict[_Kind, list[SSL.Context]] = {}
        self._began: float | None = None
        self._shared = False
        self._over = False

    def get(self, profile: ProfileName, min_version: str = "1.2") -> SSL.Context:
        """The context to make connections of a kind from."""
        kind = profile, stricter(min_version, PROFILES[profile].min_version)
        made = self._made.get(kind)
        if made is None:
            made = self._made[kind] = [new_context(*kind)]
        return made[0]

    def ahead(self, now: float) -> None:
        """Make those of every kind, for processes that are forked from now on."""
        for profile in get_args(ProfileName):
            for version in VERSIONS:
                self.get(profile, version)
        for kind, made in self._made.items():
            made += [new_context(*kind) for _ in range(AHEAD - len(made))]
        self._began = now
        self._shared = True

    def turn(self, now: float) -> None:
        """Forget what has been in use for :data:`LIFE`; to be called now and then.

        ``now`` is of a clock that all processes share, in seconds.
        """
        if self._began is None:
            self._began = now
        while now - self._began >= LIFE:
            self._began += LIFE
            for kind, made in self._made.items():
                if len(made) > 1:
                    del made[0]
                elif not self._shared:
                    made[0] = new_context(*kind)
                elif not self._over:
                    self._over = True
                    _logger.warn("session tickets have no newer keys: upgrade or restart")


_keys = Keys()
#: Those of this process.
sealing = _keys.get
make_all = _keys.ahead
turn = _keys.turn
