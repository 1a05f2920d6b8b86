"""What the admin server asks, answered for this proxy (:mod:`txrproxy.admin.steward`).

It runs in the main process, beside no traffic. What workers know they are asked for; what they
count they tell (:mod:`txrproxy.service.figures`), and :class:`~txrproxy.admin.totals.Totals` adds
it up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from txrproxy import __version__, metrics
from txrproxy.admin.steward import Unknown
from txrproxy.admin.totals import Row, Totals
from txrproxy.balance.backend import Backend
from txrproxy.balance.pool import EJECTED, PANIC, Pool
from txrproxy.cache.asking import ask_later
from txrproxy.cache.control import NoOwner
from txrproxy.config.effective import effective
from txrproxy.config.schema import Config
from txrproxy.observe.errorlog import ErrorLog
from txrproxy.service.master import Master, worker_count
from txrproxy.service.pools import pools
from txrproxy.service.processes import Handle
from txrproxy.transport.channel import Body, Refused

_logger = Logger()

SCRAPE = 3.0  # seconds that a worker, or a cache, has to answer


class Proxy(Protocol):
    """What is asked of an :class:`~txrproxy.service.edge.Edge`."""

    config: Config
    master: Master
    error_log: ErrorLog | None
    running: Any

    def not_ready(self) -> str: ...

    def status(self) -> Deferred[Body]: ...

    def reload(self) -> Deferred[Body]: ...

    def set_backend(
        self, pool: str, backend: str, state: str | None, weight: int | None
    ) -> Deferred[Body]: ...


class Overseer:
    """Answers for a proxy."""

    def __init__(self, proxy: Proxy, reactor: Any) -> None:
        self.totals = Totals()
        self._proxy = proxy
        self._reactor = reactor
        self._started = time.time()
        self._restarts = 0
        self._gathering: list[Deferred[None]] | None = None
        master = proxy.master
        master.register("counted", lambda worker, body: self.totals.add(body["rows"]))
        master.board.watch = self._happened
        self.reloaded(None)

    # What is counted here.

    def _happened(self, pool: Pool, event: str, backend: Backend | None) -> None:
        name = pool.name.decode()
        if event == EJECTED and backend is not None:
            labels = [name, backend.name.decode("latin-1")]
            self.totals.add([(metrics.EJECTIONS, labels, 1)])
        elif event == PANIC:
            self.totals.add([(metrics.PANICS, [name], 1)])

    def reloaded(self, ok: bool | None) -> None:
        """How a reload went; None before the first."""
        self.totals.add(
            [
                (metrics.RELOADS, ["ok"], int(ok is True)),
                (metrics.RELOADS, ["refused"], int(ok is False)),
            ]
        )
        at = time.time() if ok is not None else 0
        self._reload: list[Row] = [
            (metrics.RELOAD_OK, [], int(ok is not False)),
            (metrics.RELOAD_TIME, [], at),
        ]

    # Answers.

    def not_ready(self) -> str:
        return self._proxy.not_ready()

    def metrics(self, accept: str) -> Any:
        admin = self._proxy.config.admin
        if admin is None or not admin.metrics:
            raise Unknown("metrics are off (admin.metrics)")
        return self._gather().addCallback(lambda _: self.totals.text(accept))

    def _gather(self) -> Deferred[None]:
        """Ask everybody; whoever comes meanwhile waits for the same answers."""
        done: Deferred[None] = Deferred()
        if self._gathering is not None:
            self._gathering.append(done)
            return done
        self._gathering = [done]
        asked: list[Deferred[Any]] = [
            self._proxy.master.ask("figures", timeout=SCRAPE).addCallback(self._told),
            self._cache_figures().addCallback(self._caches_told),
        ]

        def over(_: object) -> None:
            self._told_of_ourselves()
            waiting, self._gathering = self._gathering or [], None
            for each in waiting:
                each.callback(None)

        DeferredList(asked, consumeErrors=True).addCallback(over)
        return done

    def _told(self, answers: Sequence[tuple[Handle, Body]]) -> None:
        for worker, body in answers:
            if "error" not in body:
                self.totals.add(body["rows"])
                self.totals.state(worker, body["now"])
        gone = {w for w in self.totals.processes if isinstance(w, Handle)}
        self.totals.forget(gone - {worker for worker, _ in answers})

    def _caches_told(self, rows: Sequence[Body]) -> None:
        now: list[Row] = []
        for row in rows:
            if "size" in row:
                name = [row["name"]]
                now.append((metrics.CACHE_BYTES, name, row["size"]))
                now.append((metrics.CACHE_LIMIT, name, row["max_size"]))
                now.append((metrics.CACHE_RESPONSES, name, row["responses"]))
        self.totals.state("caches", now)

    def _told_of_ourselves(self) -> None:
        master = self._proxy.master
        restarts, self._restarts = master.restarts - self._restarts, master.restarts
        self.totals.add([(metrics.RESTARTS, [], restarts)])
        self.totals.state(
            "main",
            [
                (metrics.WORKERS, [], len(master.serving)),
                (metrics.WORKERS_CONFIGURED, [], max(1, worker_count(self._proxy.config))),
                (metrics.READY, [], int(not self.not_ready())),
                (metrics.START_TIME, [], self._started),
                (metrics.INFO, [__version__], 1),
                *self._reload,
            ],
        )

    def status(self) -> Any:
        return self._proxy.status()

    def config(self) -> Body:
        return effective(self._proxy.config)

    def routes(self) -> Body:
        return {"routes": effective(self._proxy.config)["routes"]}

    def pools(self) -> Any:
        return pools(self._proxy.master)

    def set_backend(self, pool: str, backend: str, state: str | None, weight: int | None) -> Any:
        def there(answer: Body) -> Any:
            pools = {each["name"]: each for each in answer["pools"]}
            if pool not in pools:
                raise Unknown(f"no pool {pool[:256]!r}", pools)
            ids = [each["id"] for each in pools[pool]["backends"]]
            if backend not in ids:
                raise Unknown(f"no backend {backend[:256]!r} in this pool", ids)
            return self._proxy.set_backend(pool, backend, state, weight)

        def changed(answer: Body) -> Body:
            (found,) = (each for each in answer["pools"] if each["name"] == pool)
            for row in found["backends"]:
                if row["id"] == backend:
                    result: Body = row
                    return result
            raise Refused("the backend has left the pool")

        done: Deferred[Any] = self.pools().addCallback(there)
        done.addCallback(lambda _: self.pools())
        return done.addCallback(changed)

    # Caches: whoever owns the folder is asked, over its control socket.

    def caches(self) -> Any:
        return self._cache_figures().addCallback(lambda rows: {"caches": rows})

    def _cache_figures(self) -> Deferred[list[Body]]:
        config = self._proxy.config
        names = list(config.caches)
        asked = [self._ask_cache(str(name), {"ask": "stats"}, SCRAPE) for name in names]

        def told(results: Sequence[tuple[bool, Any]]) -> list[Body]:
            rows = []
            for name, (good, said) in zip(names, results, strict=True):
                figures = said if good else {"error": str(said.value)}
                rows.append({"name": str(name), **figures})
            return rows

        done: Deferred[Any] = DeferredList(asked, consumeErrors=True)
        return done.addCallback(told)

    def _ask_cache(self, cache: str, question: Body, patience: float = 30.0) -> Deferred[Any]:
        config = self._proxy.config
        found = {str(name): settings for name, settings in config.caches.items()}
        if cache not in found:
            raise Unknown(f"no cache {cache[:256]!r}", found)
        folder = str(config.resolve(found[cache].path))

        def failed(failure: Any) -> Any:
            failure.trap(NoOwner, ValueError)
            raise Refused(f"cache {cache}: {failure.value}".replace(folder, "its folder"))

        done: Deferred[Any] = ask_later(self._reactor, folder, question, patience)
        return done.addErrback(failed)

    def entries(self, cache: str, prefix: str, limit: int) -> Any:
        question = {"ask": "ls", "prefix": _wire(prefix), "limit": limit}
        return self._ask_cache(cache, question).addCallback(lambda rows: {"entries": rows})

    def purge(self, cache: str, kind: str, value: str, soft: bool, preview: bool) -> Any:
        what = "preview" if preview else "purge"
        return self._ask_cache(
            cache, {"ask": what, "kind": kind, "value": _wire(value), "soft": soft}
        )

    # Control.

    def reload(self) -> Any:
        return self._proxy.reload()

    def log_level(self) -> Body:
        log = self._proxy.error_log
        if log is None:
            raise Refused("the log is twistd's own (--logger, --logfile or --syslog)")
        return {"level": log.level}

    def set_log_level(self, level: str) -> Body:
        before = self.log_level()["level"]
        log = self._proxy.error_log
        assert log is not None
        if level != before:
            log.level = "info"  # for this line, which is to be there whatever the levels are
            _logger.info("log level: {now}, it was {before}", now=level, before=before)
        log.level = level
        self._proxy.master.broadcast("log level", {"level": level})
        return {"level": level}


def _wire(text: str) -> str:
    """Text of a request as it is on the wire, for a question whose bytes are Latin-1."""
    return text.encode("utf-8").decode("latin-1")
