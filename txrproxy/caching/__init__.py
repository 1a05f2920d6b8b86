"""A route whose responses are kept: does what the cache's policy decides.

::

    serve ─▶ find ─▶ a copy that may be used ──────────────────────────▶ hit
               │     stale, while it is renewed ─▶ hit, and a fetch in the background
               └─▶ none, or to be validated ─▶ wait for who fetches the same, or fetch:
                      304 ───────────────────▶ refresh ────────────────▶ hit
                      an error, stale allowed ─────────────────────────▶ hit
                      storable ──────────────▶ fill, and read along
                      else ──────────────────▶ the response as it comes

:mod:`~txrproxy.caching.route` looks and asks, :mod:`~txrproxy.caching.outcome` does what comes of
it, :mod:`~txrproxy.caching.fetching` is the request to a backend, :mod:`~txrproxy.caching.waiting`
one that waits for another's, :mod:`~txrproxy.caching.playback` a body's way to its client. The
decisions are :mod:`txrproxy.cache.policy`'s, the mechanism is :mod:`txrproxy.cache.store`'s.
"""

from txrproxy.caching.route import Caching

__all__ = ["Caching"]
