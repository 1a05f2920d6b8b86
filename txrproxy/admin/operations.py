"""Everything that the admin server offers, as one table.

A row is a method and a path, what it takes, what it answers, and whom it calls. The server finds
its way by it, and the OpenAPI document (:mod:`txrproxy.admin.openapi`) is written from it, so that
neither can say what the other does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import Factory, frozen

from txrproxy.admin import openapi
from txrproxy.admin.schemas import Invalid, Schema, boolean, integer, one_of, table, text
from txrproxy.admin.steward import Steward, Unknown
from txrproxy.cache.key import NotUrl, written_prefix, written_url

LEVELS = ("debug", "info", "warn", "error", "critical")
STATES = ("up", "drain", "down")
# What the cache takes for a URL, or the beginning of one, as the document says it.
_SCHEME = "[Hh][Tt][Tt][Pp][Ss]?://"
_URL = f"^{_SCHEME}[^/?#]"
_PREFIX = f"^({_SCHEME}|([Hh]([Tt]([Tt]([Pp]([Ss]?:?|[Ss]?:/)?)?)?)?)?$(?!\\n))"
MAX_WEIGHT = 65_535
MAX_LISTED = 100_000

PURGES = ("url", "prefix", "tag", "all")


@frozen
class Asked:
    """A request as an operation sees it, checked."""

    steward: Steward
    parts: Mapping[str, str]  # of the path
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    accept: str = ""


@frozen(eq=False)
class Operation:
    """One row. ``path`` has ``{name}`` for what varies; ``answer`` is the schema of a 200."""

    method: str
    path: str
    name: str
    text: str
    answer: Schema
    call: Callable[[Asked], Any]
    query: Schema = Factory(dict)
    body: Schema | None = None
    errors: tuple[int, ...] = ()  # beside those that every operation may answer with
    open: bool = False  # to everybody, without a token


def _document(asked: Asked) -> Any:
    return openapi.document(OPERATIONS)


def _ready(asked: Asked) -> Any:
    why = asked.steward.not_ready()
    return {"ready": not why, **({"why": why} if why else {})}


async def _pools(asked: Asked) -> Any:
    return await _later(asked.steward.pools())


async def _pool(asked: Asked) -> Any:
    found = (await _later(asked.steward.pools()))["pools"]
    return _named(found, "name", asked.parts["pool"], "pool")


async def _backend(asked: Asked) -> Any:
    pool = await _pool(asked)
    return _named(pool["backends"], "id", asked.parts["backend"], "backend")


def _set_backend(asked: Asked) -> Any:
    parts, body = asked.parts, asked.body
    weight = int(body["weight"]) if "weight" in body else None
    return asked.steward.set_backend(parts["pool"], parts["backend"], body.get("state"), weight)


async def _cache(asked: Asked) -> Any:
    found = (await _later(asked.steward.caches()))["caches"]
    return _named(found, "name", asked.parts["cache"], "cache")


def _entries(asked: Asked) -> Any:
    query = asked.query
    _spelled("prefix", query["prefix"])
    return asked.steward.entries(asked.parts["cache"], query["prefix"], query["limit"])


def _spelled(kind: str, value: str) -> None:
    """Whether a URL or the beginning of one is that; the cache spells it as it does its own."""
    written = {"url": written_url, "prefix": written_prefix}.get(kind)
    if written is not None:
        try:
            written(value.encode())
        except NotUrl as error:
            raise Invalid(f"{kind}: {error}") from None


def _purge(asked: Asked) -> Any:
    body = asked.body
    kinds = [kind for kind in PURGES if kind in body]
    if len(kinds) != 1:
        raise Invalid(f"the body: expected exactly one of {', '.join(PURGES)}")
    (kind,) = kinds
    value = "" if kind == "all" else body[kind]
    _spelled(kind, value)
    soft, preview = body.get("soft", False), body.get("preview", False)
    return asked.steward.purge(asked.parts["cache"], kind, value, soft, preview)


def _set_level(asked: Asked) -> Any:
    return asked.steward.set_log_level(asked.body["level"])


async def _later(value: Any) -> Any:
    return await value if hasattr(value, "addCallback") else value


def _named(rows: list[dict[str, Any]], key: str, name: str, what: str) -> Any:
    for row in rows:
        if row[key] == name:
            return row
    raise Unknown(f"no {what} {name[:256]!r}", [row[key] for row in rows])


_COUNT = {"type": "integer", "minimum": 0}
_OPEN = {"type": "object"}  # what it has depends on more than this document should repeat
_BACKEND = {
    "type": "object",
    "required": ["id", "state", "weight"],
    "properties": {
        "id": {"type": "string"},
        "state": one_of(*STATES),
        "weight": _COUNT,
        "healthy": {"type": ["boolean", "null"]},
        "ejected": {"type": "boolean"},
        "ejected_for": {"type": ["number", "null"], "description": "seconds yet"},
        "available": {"type": ["boolean", "null"]},
        "active": _COUNT,
        "idle": _COUNT,
        "waiting": _COUNT,
    },
}
_POOL = {
    "type": "object",
    "required": ["name", "panic", "backends"],
    "properties": {
        "name": {"type": "string"},
        "panic": {"type": "boolean"},
        "backends": {"type": "array", "items": _BACKEND},
    },
}
_CACHE = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
_LEVEL = table({"level": one_of(*LEVELS)}, ("level",))


def _list(key: str, item: Schema) -> Schema:
    return {
        "type": "object",
        "required": [key],
        "properties": {key: {"type": "array", "items": item}},
    }


_READY = {
    "type": "object",
    "required": ["ready"],
    "properties": {"ready": {"type": "boolean"}, "why": {"type": "string"}},
}

API = "/api/v1"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/healthz",
        "healthz",
        "The main process answers.",
        table({"status": one_of("ok")}, ("status",)),
        lambda asked: {"status": "ok"},
        open=True,
    ),
    Operation(
        "GET",
        "/readyz",
        "readyz",
        "Whether requests may be sent to this proxy; 503 while it starts or drains.",
        _READY,
        _ready,
        errors=(503,),
        open=True,
    ),
    Operation(
        "GET",
        "/metrics",
        "metrics",
        "Metrics in the text format of Prometheus, or OpenMetrics.",
        {"type": "string"},
        lambda asked: asked.steward.metrics(asked.accept),
        errors=(404,),
    ),
    Operation(
        "GET",
        f"{API}/openapi.json",
        "openapi",
        "This document.",
        _OPEN,
        _document,
    ),
    Operation(
        "GET",
        f"{API}/status",
        "status",
        "Version, processes, connections, memory, and how the last reload went.",
        {
            "type": "object",
            "required": ["version", "pid", "uptime", "listeners", "workers"],
            "properties": {
                "version": {"type": "string"},
                "pid": _COUNT,
                "uptime": {"type": "number"},
                "listeners": {"type": "array", "items": {"type": "string"}},
                "workers": {"type": "array", "items": _OPEN},
            },
        },
        lambda asked: asked.steward.status(),
    ),
    Operation(
        "GET",
        f"{API}/config",
        "config",
        "The configuration in force, defaults included, secrets masked.",
        _OPEN,
        lambda asked: asked.steward.config(),
    ),
    Operation(
        "GET",
        f"{API}/routes",
        "routes",
        "All routes; the first that matches a request takes it.",
        _list("routes", {"type": "object", "required": ["name", "match"]}),
        lambda asked: asked.steward.routes(),
    ),
    Operation(
        "GET",
        f"{API}/pools",
        "pools",
        "All pools with their backends, as all workers see them together.",
        _list("pools", _POOL),
        _pools,
    ),
    Operation("GET", f"{API}/pools/{{pool}}", "pool", "One pool.", _POOL, _pool, errors=(404,)),
    Operation(
        "GET",
        f"{API}/pools/{{pool}}/backends/{{backend}}",
        "backend",
        "One backend.",
        _BACKEND,
        _backend,
        errors=(404,),
    ),
    Operation(
        "PUT",
        f"{API}/pools/{{pool}}/backends/{{backend}}",
        "set_backend",
        "Take a backend out, drain it, take it in again, or give it another weight. "
        "It holds until the proxy ends or the pool is changed by a reload.",
        _BACKEND,
        _set_backend,
        body=table({"state": one_of(*STATES), "weight": integer(0, MAX_WEIGHT)}, minProperties=1),
        errors=(404, 409),
    ),
    Operation(
        "GET",
        f"{API}/cache",
        "caches",
        "Figures of all caches.",
        _list("caches", _CACHE),
        lambda asked: asked.steward.caches(),
    ),
    Operation(
        "GET",
        f"{API}/cache/{{cache}}",
        "cache",
        "Figures of one cache.",
        _CACHE,
        _cache,
        errors=(404,),
    ),
    Operation(
        "GET",
        f"{API}/cache/{{cache}}/entries",
        "entries",
        "What is stored, by URL.",
        _list("entries", {"type": "object", "required": ["url"]}),
        _entries,
        query={
            "prefix": text(
                1024, default="", pattern=_PREFIX, description="only URLs that begin so"
            ),
            "limit": integer(1, MAX_LISTED, default=1000, description="at most so many"),
        },
        errors=(404, 409),
    ),
    Operation(
        "POST",
        f"{API}/cache/{{cache}}/purge",
        "purge",
        "Take responses out, or (soft) have them asked for anew; with preview only say how much "
        "that would be. Exactly one of url, prefix, tag and all says which.",
        table({"count": _COUNT, "size": _COUNT}, ("count", "size")),
        _purge,
        body=table(
            {
                "url": text(pattern=_URL),
                "prefix": text(pattern=_PREFIX),
                "tag": text(),
                "all": boolean(enum=[True]),
                "soft": boolean(default=False),
                "preview": boolean(default=False),
            },
            minProperties=1,
            oneOf=[{"required": [kind]} for kind in PURGES],
        ),
        errors=(404, 409),
    ),
    Operation(
        "POST",
        f"{API}/reload",
        "reload",
        "Read the configuration again, and wait until every process serves it. "
        "409, and nothing has changed, where the file has a fault: the text says which.",
        _OPEN,
        lambda asked: asked.steward.reload(),
        errors=(409,),
    ),
    Operation(
        "GET",
        f"{API}/log/level",
        "log_level",
        "The least severe level that the error log has.",
        _LEVEL,
        lambda asked: asked.steward.log_level(),
        errors=(409,),
    ),
    Operation(
        "PUT",
        f"{API}/log/level",
        "set_log_level",
        "Another level for the error log, until the proxy ends.",
        _LEVEL,
        _set_level,
        body=_LEVEL,
        errors=(409,),
    ),
)
