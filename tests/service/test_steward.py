"""The admin server's questions, answered by a proxy. Whole processes: ``test_adminserver``."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from txrproxy import metrics
from txrproxy.admin.steward import Steward, Unknown
from txrproxy.balance.backend import Backend
from txrproxy.balance.pool import EJECTED, PANIC, RESTORED, Pool
from txrproxy.cache.control import NoOwner
from txrproxy.config.toml import loads
from txrproxy.service import steward
from txrproxy.service.processes import Handle
from txrproxy.service.steward import Overseer
from txrproxy.transport.channel import Refused

BACKEND = {"name": "10.0.0.1:80", "state": "up", "weight": 1, "healthy": True, "ejected": None}
SEEN = {"id": "10.0.0.1:80", "active": 2, "idle": 1, "waiting": 0, "available": True}


class FakeBoard:
    watch: Any = None
    ready = True

    def report(self) -> Any:
        return [{"name": "app", "panic": False, "backends": [dict(BACKEND)]}]


class FakeMaster:
    def __init__(self) -> None:
        self.board = FakeBoard()
        self.restarts = 0
        self.topics: dict[str, Any] = {}
        self.answers: list[Any] = []
        self.asked: list[str] = []
        self.told: list[Any] = []
        self.workers = [Handle(n, None, n, 0.0) for n in (1, 2)]  # type: ignore[arg-type]

    @property
    def serving(self) -> Any:
        return self.workers

    def register(self, topic: str, callback: Any) -> None:
        self.topics[topic] = callback

    def broadcast(self, topic: str, body: Any) -> None:
        self.told.append((topic, body))

    def ask(self, topic: str, timeout: float = 0) -> Any:
        self.asked.append(topic)
        if topic == "pools":
            bodies = [{"pools": [{"name": "app", "backends": [SEEN]}]}, {"error": "late"}]
            return succeed(list(zip(self.workers, bodies, strict=True)))
        done: Deferred[Any] = Deferred()
        self.answers.append(done)
        return done


class FakeLog:
    level = "info"

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: Any) -> None:
        """Observe as the error log does, for events of ``info``."""
        if self.level in ("debug", "info"):
            self.lines.append(formatEvent(event))


class FakeProxy:
    running = True

    def __init__(self) -> None:
        self.error_log: Any = FakeLog()
        text = '[admin]\n[caches.main]\npath = "cache"\n'
        self.config = loads(MINIMAL + text)
        self.master: Any = FakeMaster()
        self.why = ""
        self.set: list[Any] = []

    def not_ready(self) -> str:
        return self.why

    def status(self) -> Any:
        return succeed({"pid": 1})

    def reload(self) -> Any:
        return succeed({"ok": True})

    def set_backend(self, *asked: Any) -> Any:
        self.set.append(asked)
        return succeed({})


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.proxy = FakeProxy()
        self.master = self.proxy.master
        self.questions: list[Any] = []
        self.answer: Any = {"size": 5, "max_size": 9, "responses": 1}
        self.patch(steward, "ask_later", self.ask_later)
        self.steward = Overseer(self.proxy, Clock())

    def ask_later(self, reactor: Any, folder: str, question: Any, patience: float) -> Any:
        self.questions.append(question)
        done: Deferred[Any] = Deferred()
        if isinstance(self.answer, Exception):
            done.errback(self.answer)
        else:
            done.callback(self.answer)
        return done

    def scrape(self, *bodies: Any) -> str:
        done = self.steward.metrics("")
        self.master.answers.pop().callback(list(zip(self.master.workers, bodies, strict=False)))
        text, _ = self.successResultOf(done)
        return str(text.decode())

    def test_it_is_one(self) -> None:
        kept: Steward = self.steward
        self.assertEqual(kept.not_ready(), "")


class Metrics(Case):
    def test_gathered(self) -> None:
        self.master.topics["counted"](None, {"rows": [[metrics.RETRIES, ["app"], 1]]})
        rows = {"rows": [[metrics.RETRIES, ["app"], 2]], "now": [[metrics.MEMORY, ["1"], 7]]}
        text = self.scrape(rows, {"error": "late"})
        self.assertIn('txrproxy_retries_total{pool="app"} 3.0\n', text)
        self.assertIn('txrproxy_worker_resident_bytes{worker="1"} 7.0\n', text)
        self.assertIn('txrproxy_cache_bytes{cache="main"} 5.0\n', text)
        self.assertIn("txrproxy_workers 2.0\n", text)
        self.assertIn("txrproxy_ready 1.0\n", text)

    def test_workers_that_there_are_to_be(self) -> None:
        text = MINIMAL + "[admin]\n"
        for written, count in (("0", 1), ("3", 3)):
            self.proxy.config = loads(f"{text}[server]\nworkers = {written}\n")
            self.assertIn(f"txrproxy_workers_configured {count}.0\n", self.scrape())

    def test_a_worker_is_gone(self) -> None:
        now = {"rows": [], "now": [[metrics.CONNECTIONS, ["http"], 7]]}
        self.scrape(now, now)
        self.master.workers.pop()
        self.master.restarts = 1
        text = self.scrape(now)
        self.assertIn('txrproxy_connections{listener="http"} 7.0\n', text)
        self.assertIn("txrproxy_worker_restarts_total 1.0\n", text)

    def test_asked_once_for_all_who_wait(self) -> None:
        first, second = self.steward.metrics(""), self.steward.metrics("")
        (done,) = self.master.answers
        done.callback([])
        self.assertEqual(self.successResultOf(first), self.successResultOf(second))

    def test_off(self) -> None:
        self.proxy.config = loads(MINIMAL + "[admin]\nmetrics = false\n")
        self.assertRaises(Unknown, self.steward.metrics, "")

    def test_ejections_and_panics(self) -> None:
        backend = Backend(b"10.0.0.1:80", b"a")
        pool = Pool(b"app", [backend])
        for event, about in ((EJECTED, backend), (RESTORED, backend), (PANIC, None)):
            self.master.board.watch(pool, event, about)
        text = self.scrape()
        self.assertIn('txrproxy_ejections_total{backend="10.0.0.1:80",pool="app"} 1.0\n', text)
        self.assertIn('txrproxy_panics_total{pool="app"} 1.0\n', text)

    def test_reloads(self) -> None:
        self.steward.reloaded(True)
        self.steward.reloaded(False)
        text = self.scrape()
        self.assertIn('txrproxy_reloads_total{result="ok"} 1.0\n', text)
        self.assertIn('txrproxy_reloads_total{result="refused"} 1.0\n', text)
        self.assertIn("txrproxy_last_reload_successful 0.0\n", text)


class Pools(Case):
    def test_added_up(self) -> None:
        (pool,) = self.successResultOf(self.steward.pools())["pools"]
        (backend,) = pool["backends"]
        self.assertEqual((backend["id"], backend["active"], backend["idle"]), ("10.0.0.1:80", 2, 1))
        self.assertEqual((backend["available"], backend["ejected"]), (True, False))

    def test_set(self) -> None:
        found = self.successResultOf(self.steward.set_backend("app", "10.0.0.1:80", "down", None))
        self.assertEqual(found["id"], "10.0.0.1:80")
        self.assertEqual(self.proxy.set, [("app", "10.0.0.1:80", "down", None)])

    def test_unknown(self) -> None:
        for pool, backend, known in (("x", "y", ["app"]), ("app", "y", ["10.0.0.1:80"])):
            done = self.steward.set_backend(pool, backend, None, 1)
            self.assertEqual(self.failureResultOf(done, Unknown).value.known, known)
        self.assertEqual(self.proxy.set, [])


class Caches(Case):
    def test_figures(self) -> None:
        (cache,) = self.successResultOf(self.steward.caches())["caches"]
        self.assertEqual((cache["name"], cache["size"]), ("main", 5))

    def test_nobody_owns_it(self) -> None:
        self.answer = NoOwner("/secret/cache: no process owns it")
        (cache,) = self.successResultOf(self.steward.caches())["caches"]
        self.assertIn("no process owns it", cache["error"])
        error = self.failureResultOf(self.steward.entries("main", "", 1), Refused).value
        self.assertIn("cache main", str(error))

    def test_unknown(self) -> None:
        error = self.assertRaises(Unknown, self.steward.entries, "x", "", 1)
        self.assertEqual(error.known, ["main"])

    def test_questions(self) -> None:
        self.answer = []
        found = self.successResultOf(self.steward.entries("main", "http://é", 5))
        self.assertEqual(found, {"entries": []})
        self.steward.purge("main", "tag", "a", True, False)
        self.steward.purge("main", "all", "", False, True)
        self.assertEqual(
            self.questions,
            [
                {"ask": "ls", "prefix": "http://Ã©", "limit": 5},
                {"ask": "purge", "kind": "tag", "value": "a", "soft": True},
                {"ask": "preview", "kind": "all", "value": "", "soft": False},
            ],
        )


class Levels(Case):
    def test_set(self) -> None:
        self.assertEqual(self.steward.set_log_level("debug"), {"level": "debug"})
        self.assertEqual(self.steward.log_level(), {"level": "debug"})
        self.assertEqual(self.master.told, [("log level", {"level": "debug"})])

    def test_said_whatever_the_levels_are(self) -> None:
        log = self.proxy.error_log
        globalLogPublisher.addObserver(log)
        self.addCleanup(globalLogPublisher.removeObserver, log)
        for level in ("error", "critical", "critical", "debug"):
            self.steward.set_log_level(level)
        self.assertEqual(
            log.lines,
            [
                "log level: error, it was info",
                "log level: critical, it was error",
                "log level: debug, it was critical",
            ],
        )
        self.assertEqual(log.level, "debug")

    def test_of_twistd(self) -> None:
        self.proxy.error_log = None
        self.assertRaises(Refused, self.steward.set_log_level, "debug")


class Plain(Case):
    def test_the_rest(self) -> None:
        self.assertEqual(self.successResultOf(self.steward.status()), {"pid": 1})
        self.assertEqual(self.successResultOf(self.steward.reload()), {"ok": True})
        self.assertEqual(self.steward.config()["version"], 1)
        self.assertEqual(self.steward.routes()["routes"][0]["name"], "all")
