"""The configuration, as classes: what is written here is the manual.

One class is one table of the file and one field is one key, under the same name. The text beside a
field is what ``docs/configuration.md`` and the annotated ``etc/txrproxy.toml`` say of it; both are
generated from here. ``config/values.py`` has the forms of single values, ``config/toml.py`` reads
a file into these classes, ``config/check.py`` looks at what only the whole can tell.

Paths are kept as written. All of them, those in included files too, are relative to the folder of
the main file; :meth:`Config.resolve` applies that.
"""

# ruff: noqa: RUF009 - the calls in class bodies are attrs fields behind `option`
from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

from attrs import Factory, field, frozen

from txrproxy.config.forms.addresses import bind
from txrproxy.config.forms.numbers import seconds, size, statuses, timeout
from txrproxy.config.forms.words import limit_key, request_key
from txrproxy.config.values import (
    AddressBits,
    BackendUrl,
    Bind,
    CacheKeyPart,
    Cidr,
    CorsOrigin,
    FieldName,
    FieldValue,
    FilePath,
    Fingerprint,
    HostField,
    HostPattern,
    HttpUrl,
    KeySource,
    LimitKey,
    Method,
    Name,
    NameServer,
    Natural,
    OptionalPath,
    OptionalSecret,
    PathPattern,
    Place,
    Positive,
    Rate,
    RedirectHttps,
    RedirectTarget,
    Regex,
    RequestKey,
    RequestTarget,
    ResourceName,
    RuleSelector,
    Seconds,
    Secret,
    Share,
    Size,
    Status,
    Statuses,
    Text,
    Timeout,
    TokenPlace,
    UpstreamHost,
    Workers,
)


def option(default: Any, doc: str, *, example: str | None = None) -> Any:
    """A key with a default. ``example`` is TOML for what a person might write instead."""
    return field(default=default, metadata={"doc": doc, "example": example})


def required(doc: str, *, example: str) -> Any:
    """A key that must be there."""
    return field(metadata={"doc": doc, "example": example})


@frozen(kw_only=True)
class Server:
    """The process as a whole."""

    workers: Workers = option(
        "auto",
        'processes that serve traffic: "auto" is one for each CPU, 0 serves in the main process',
    )
    cpu_affinity: bool = option(False, "keep each worker on a CPU of its own")
    worker_timeout: Seconds = option(
        seconds("30s"), "a worker that hangs for so long is killed, and replaced; 0 leaves it"
    )
    drain_timeout: Seconds = option(
        seconds("30s"), "how long old exchanges may take to finish after a reload or a stop"
    )
    drain_delay: Seconds = option(
        seconds("0s"),
        "before a stop drains: /readyz says 503 and everybody is still served, with Connection: "
        "close, so that load balancers and clients go elsewhere first",
    )
    max_connections: Positive = option(
        20000, "client connections of one worker; beyond it new ones wait in the backlog"
    )
    backlog: Positive = option(4096, "connections that may wait to be accepted")
    trusted_proxies: tuple[Cidr, ...] = option(
        (),
        "networks whose Forwarded, X-Forwarded-* and X-Request-Id are believed",
        example='["10.0.0.0/8"]',
    )
    resolver: tuple[NameServer, ...] = option(
        (),
        "name servers for the names of backends; without any, those of /etc/resolv.conf",
        example='["10.0.0.2", "[2001:db8::2]:5353"]',
    )
    state_dir: FilePath = option(
        "state", "folder for the pid file, control socket and own certificates"
    )


@frozen(kw_only=True)
class AccessLog:
    """One line for each exchange; docs/logs.md has every field, and all ways to end."""

    path: FilePath = option("-", 'a file, reopened on a signal; "-" is standard output')
    format: Literal["json", "combined", "off"] = option(
        "json", '"combined" is the format of Apache and nginx'
    )
    redact: tuple[Text, ...] = option(
        (),
        "names of query parameters whose values are not logged",
        example='["token", "password"]',
    )


@frozen(kw_only=True)
class ErrorLog:
    """What the proxy has to say of itself."""

    path: FilePath = option("-", 'a file, reopened on a signal; "-" is standard error')
    level: Literal["debug", "info", "warn", "error", "critical"] = option(
        "info", "the least severe level that is logged"
    )
    format: Literal["text", "json"] = option("text", '"json" writes one object a line')


@frozen(kw_only=True)
class Log:
    """Where events go."""

    access: AccessLog = option(Factory(AccessLog), "one line for each exchange")
    error: ErrorLog = option(Factory(ErrorLog), "what the proxy has to say of itself")


@frozen(kw_only=True)
class Admin:
    """The admin server: metrics and control. Without the table none runs."""

    listen: Bind = option(bind("127.0.0.1:9900"), "where it listens")
    token: Secret | None = option(
        None,
        "bearer token that a client must send; needed unless only this machine can connect",
        example='"env:TXRPROXY_TOKEN"',
    )
    metrics: bool = option(True, "serve GET /metrics in the Prometheus text format")
    hosts: tuple[HostPattern, ...] = option(
        (),
        "names by which it may be asked, beside IP addresses and localhost",
        example='["admin.example.com"]',
    )


@frozen(kw_only=True)
class Certificate:
    """A certificate chain, its private key, and the rules for its names.

    A rule that is absent is the listener's.
    """

    cert: FilePath = required("the chain, PEM, leaf first", example='"tls/example.pem"')
    key: Secret = required("the private key, PEM", example='"file:tls/example.key"')
    min_version: Literal["1.2", "1.3"] | None = option(
        None, "the oldest TLS version accepted for its names", example='"1.3"'
    )
    client_auth: Literal["off", "optional", "required"] | None = option(
        None, "whether clients of its names show a certificate", example='"required"'
    )
    client_ca: FilePath | None = option(
        None, "PEM of the authorities for those", example='"tls/clients.pem"'
    )


@frozen(kw_only=True)
class Tls:
    """TLS on a listener."""

    certificates: tuple[Certificate, ...] = option(
        (),
        "SNI picks by the names in the certificate; the first is the default",
        example='[{ cert = "tls/example.pem", key = "file:tls/example.key" }]',
    )
    strict_sni: bool = option(
        False,
        "refuse clients that ask for a name no certificate has, or for none, with the alert "
        "unrecognized_name",
    )
    self_signed: bool = option(
        False, "make a certificate and keep it in state_dir, for development"
    )
    min_version: Literal["1.2", "1.3"] = option("1.2", "the oldest TLS version accepted")
    profile: Literal["intermediate", "modern"] = option(
        "intermediate", "Mozilla's server side TLS recommendation for ciphers and curves"
    )
    session_tickets: bool = option(True, "let clients resume sessions by ticket")
    client_ca: FilePath | None = option(
        None, "PEM of the authorities for client certificates", example='"tls/clients.pem"'
    )
    client_auth: Literal["off", "optional", "required"] = option(
        "off", "whether clients show a certificate; needs client_ca"
    )
    reload: Timeout = option(timeout("10s"), "how often changed certificate files are noticed")


@frozen(kw_only=True)
class Listener:
    """Addresses where clients connect, and the limits for them."""

    bind: tuple[Bind, ...] = required(
        '"host:port", "[v6]:port", "unix:PATH" or "fd:NAME" (a systemd socket), one or more',
        example='["127.0.0.1:8080"]',
    )
    redirect_https: RedirectHttps = option(
        False, "send every client to https: true, or the port to name in Location"
    )
    proxy_protocol: Literal["off", "v1", "v2", "any"] = option(
        "off", "PROXY header before each connection; accepted only from server.trusted_proxies"
    )
    head_timeout: Timeout = option(
        timeout("10s"), "for a whole request head, however it trickles in"
    )
    body_timeout: Timeout = option(timeout("30s"), "between two pieces of a request body")
    idle_timeout: Timeout = option(timeout("60s"), "a keep-alive connection between requests")
    write_timeout: Timeout = option(timeout("60s"), "a client that takes no bytes")
    min_body_rate: Size = option(
        size("0B"), "a second, of a request body: the least that is to come, within body_timeout"
    )
    min_write_rate: Size = option(
        size("0B"), "a second, of a response: the least that is to be taken, within write_timeout"
    )
    max_head: Size = option(size("32KiB"), "request line and header fields together")
    max_fields: Positive = option(128, "header fields of a request")
    keepalive_requests: Positive = option(10000, "requests on one connection before it closes")
    protocols: tuple[Literal["h2", "http/1.1"], ...] = option(
        ("h2", "http/1.1"),
        "offered by ALPN over TLS, in order of preference; h2 is not answered yet, and left out",
    )
    tls: Tls | None = option(None, "without this table the listener speaks plain text")


@frozen(kw_only=True)
class Backend:
    """One server of a pool. A URL alone stands for a table with only `url`."""

    url: BackendUrl = required(
        '"http://host:port", "https://host:port" or "unix:/path"; a name stands for all of its '
        'addresses, and "http://_http._tcp.name" for what its SRV records say',
        example='"http://10.0.0.1:8080"',
    )
    weight: Natural = option(1, "share of requests against the others; 0 takes none")
    priority: Natural = option(0, "higher numbers are used only when all lower ones are down")
    max_connections: Natural = option(
        0, "connections at a time, beyond which requests queue; 0 is no limit"
    )
    max_pending: Natural = option(
        1024, "requests that queue for a connection; beyond it another backend, or 503"
    )
    max_requests: Natural = option(
        0, "requests at a time, queued ones included; beyond it the same; 0 is no limit"
    )


@frozen(kw_only=True)
class Sticky:
    """Keeps a client on one backend by a cookie."""

    cookie: FieldName = required("name of the cookie", example='"txr"')
    secret: OptionalSecret = option(
        "",
        "signs it, for several machines to agree; without it one is made and kept in state_dir",
        example='"file:sticky.key"',
    )


@frozen(kw_only=True)
class Keepalive:
    """Idle connections to backends, kept for the next request."""

    idle: Natural = option(64, "kept for each backend and worker; 0 keeps none")
    timeout: Timeout = option(timeout("50s"), "how long one is kept")
    requests: Positive = option(10000, "requests on one connection before it closes")


@frozen(kw_only=True)
class PoolTimeouts:
    """How long a backend may take."""

    connect: Timeout = option(timeout("2s"), "to connect, TLS included")
    first_byte: Timeout = option(
        timeout("30s"), "from the end of the request to the response's first byte"
    )
    idle: Timeout = option(
        timeout("60s"), "between two pieces of a response or a tunnel; a body not taken"
    )
    queue: Timeout = option(timeout("5s"), "a request's wait for a free backend")
    total: Seconds = option(
        seconds("0s"),
        "for all tries of a request until its response begins; 0s: what the tries take",
    )


@frozen(kw_only=True)
class BackendTls:
    """TLS to `https://` backends."""

    verify: bool = option(True, "check the backend's certificate and name")
    ca: FilePath = option("system", '"system", or a PEM file of authorities')
    server_name: Text = option("auto", 'name sent and checked; "auto" takes the URL\'s host')
    cert: OptionalPath = option("", "certificate shown to the backend, PEM")
    key: OptionalSecret = option("", "its private key, PEM", example='"file:tls/client.key"')


@frozen(kw_only=True)
class Health:
    """Active checks. Without the table there are none."""

    path: RequestTarget | None = option(
        None,
        "path to GET; without it a connect (with TLS, where the backend has it) is the check",
        example='"/healthz"',
    )
    interval: Timeout = option(timeout("5s"), "between two checks of one backend")
    timeout: Timeout = option(timeout("2s"), "for one check")
    rise: Positive = option(2, "passes in a row that make a backend healthy")
    fall: Positive = option(3, "failures in a row that make it unhealthy")
    expect: Statuses = option(statuses("200-399"), "statuses that pass")
    body: str = option("", "text that the body must contain, in its first 64 KiB")
    host: HostField = option(HostField(""), "Host to send; empty sends the backend's own")
    initial: Literal["probe", "healthy"] = option(
        "probe", '"probe" does not use a backend until it passed once; one pass will do then'
    )


@frozen(kw_only=True)
class Outlier:
    """Passive health: a backend that fails real requests is left out for a while."""

    consecutive_errors: Positive = option(
        5, "connect failures, resets, timeouts, 502, 503 and 504 in a row"
    )
    eject: Timeout = option(timeout("30s"), "times the number of ejections in a row")
    max_ejected: Share = option(0.5, "share of the pool that may be ejected at a time")


@frozen(kw_only=True)
class RetryRules:
    """When a failed request goes to another backend."""

    attempts: Natural = option(2, "tries beyond the first")
    on: tuple[Literal["connect", "reset", "timeout", "502", "503", "504"], ...] = option(
        ("connect", "reset", "timeout", "502", "503", "504"), "failures that are retried"
    )
    budget: Share = option(0.2, "retries as a share of requests over the last 10 s")
    non_idempotent: bool = option(
        False, "retry POST and the like too; connect failures are always safe to retry"
    )


@frozen(kw_only=True)
class Pool:
    """A named group of backends that serve the same thing."""

    backends: tuple[Backend, ...] = required(
        "the servers: URLs, or tables",
        example='["http://10.0.0.1:8080", { url = "http://10.0.0.2:8080", weight = 2 }]',
    )
    balance: Literal[
        "round_robin", "random", "least_connections", "power_of_two", "ewma", "hash"
    ] = option("round_robin", "how the backend of a request is chosen")
    hash_key: RequestKey = option(
        request_key("client_ip"),
        'for "hash": "client_ip", "path", "uri", "header:NAME" or "cookie:NAME"',
    )
    sticky: Sticky | None = option(
        None, "keep a client on one backend by a cookie", example='{ cookie = "txr" }'
    )
    slow_start: Seconds = option(
        seconds("0s"), "time over which a backend that came up grows to its full share"
    )
    resolve: Timeout = option(
        timeout("30s"), "how often a backend's name is looked up again, whatever its TTL"
    )
    panic_threshold: Share = option(0.5, "below this share of healthy backends, health is ignored")
    keepalive: Keepalive = option(Factory(Keepalive), "idle connections to backends")
    timeouts: PoolTimeouts = option(Factory(PoolTimeouts), "how long a backend may take")
    tls: BackendTls = option(Factory(BackendTls), "for https:// backends")
    host: UpstreamHost = option(
        "preserve",
        'Host sent to the backend: "preserve" (the client\'s), "backend" (the URL\'s) or a name',
    )
    health: Health | None = option(None, "active checks; none without the table")
    outlier: Outlier | None = option(None, "passive health; none without the table")
    retry: RetryRules | None = option(None, "retries; none without the table")


@frozen(kw_only=True)
class Cache:
    """A store for responses."""

    path: FilePath = option("cache", "the folder of the store")
    max_size: Size = option(size("1GiB"), "of all that is stored")
    max_object: Size = option(size("100MiB"), "of one response that is stored")
    memory: Size = option(size("64MiB"), "of each worker, for small and hot objects")


@frozen(kw_only=True)
class Geo:
    """Where clients come from, by databases in MaxMind's format. Needs the extra `txrproxy[geo]`.

    An address that no database knows comes from "unknown"; so does a client of a Unix socket.
    """

    files: tuple[FilePath, ...] = required(
        "databases of countries, of autonomous systems, or of both; followed when they change",
        example='["GeoLite2-Country.mmdb", "GeoLite2-ASN.mmdb"]',
    )
    allow: tuple[Place, ...] = option(
        (), "places; when not empty, everyone else gets 403", example='["CH", "AS64500"]'
    )
    deny: tuple[Place, ...] = option(
        (), "places from where clients get 403", example='["AS64496", "unknown"]'
    )


@frozen(kw_only=True)
class RateLimit:
    """Requests of one client in a time; beyond it 429 with Retry-After.

    All routes that use the policy count together, unless the key has `route` in it. A client that
    leaves out the header or cookie of the key is counted by its address.
    """

    key: LimitKey = option(
        limit_key("client_ip"),
        'what tells one client from another, several parts joined by "+"',
        example='"client_ip+route"',
    )
    rate: Rate = required("requests a second, minute or hour", example='"50/s"')
    burst: Natural = option(
        0,
        "requests that may come at once on top; with 0 a browser that asks for a page and its "
        "pictures is refused",
        example="100",
    )
    ipv6_prefix: AddressBits = option(
        AddressBits(64), "how many bits of an IPv6 address make a client"
    )
    fields: bool = option(
        False, "RateLimit and RateLimit-Policy on every response, not only with 429"
    )


@frozen(kw_only=True)
class ConnectionLimit:
    """Requests of one client that are in progress at a time, WebSockets included.

    A connection that is idle between two requests does not count.
    """

    key: LimitKey = option(
        limit_key("client_ip"),
        'what tells one client from another, several parts joined by "+"',
        example='"client_ip+route"',
    )
    limit: Positive = required("requests in progress at a time", example="100")
    ipv6_prefix: AddressBits = option(
        AddressBits(64), "how many bits of an IPv6 address make a client"
    )


@frozen(kw_only=True)
class Cors:
    """What pages of other origins may ask for with a browser (cross-origin resource sharing).

    Preflight requests are answered here, and what a backend says of it is replaced.
    """

    origins: tuple[CorsOrigin, ...] = required(
        '"https://*.example.com" takes one or more labels, "*" every origin',
        example='["https://app.example"]',
    )
    methods: tuple[Method, ...] = option(("GET", "HEAD", "POST"), "that a page may use")
    headers: tuple[FieldName, ...] = option(
        (), 'request fields that a page may set; "*" for all', example='["content-type"]'
    )
    expose: tuple[FieldName, ...] = option(
        (), "response fields that a page may read", example='["x-total"]'
    )
    credentials: bool = option(False, "with cookies and passwords; needs origins by name")
    max_age: Seconds = option(seconds("10m"), "how long a browser need not ask again")


@frozen(kw_only=True)
class BasicAuth:
    """User name and password by HTTP Basic. Needs the extra `txrproxy[auth]`."""

    realm: FieldValue = option("restricted", "what the browser shows")
    users: Secret = required(
        "an htpasswd file with hashes of bcrypt, Argon2 or apr1; followed when it changes",
        example='"file:users.htpasswd"',
    )
    user_field: FieldName = option(
        FieldName("Remote-User"), "the request field in which a backend gets the user's name"
    )
    forward: bool = option(False, "let the backend have the Authorization field")


@frozen(kw_only=True)
class ForwardAuth:
    """Asks another server whether a request may pass.

    It gets a GET with X-Forwarded-Method, -Proto, -Host, -Uri and -For. With 2xx the request goes
    on; 3xx and 4xx go to the client. Anything else, and no answer in time, refuses it with 503.
    """

    url: HttpUrl = required("what is asked", example='"http://127.0.0.1:7000/check"')
    copy: tuple[FieldName, ...] = option(
        (),
        "fields of its answer that the backend gets; a client can not set them",
        example='["Remote-User"]',
    )
    to_client: tuple[FieldName, ...] = option(
        (),
        "fields of its answer that the client gets beside those of the response",
        example='["Set-Cookie"]',
    )
    send: tuple[FieldName, ...] = option(
        (
            FieldName("Accept"),
            FieldName("Authorization"),
            FieldName("Cookie"),
            FieldName("User-Agent"),
            FieldName("X-Requested-With"),
        ),
        "fields of the client's request that it gets",
    )
    user_field: FieldName = option(
        FieldName("Remote-User"),
        "field of its answer that names the user, for the access log",
        example='"X-Auth-Request-User"',
    )
    timeout: Timeout = option(timeout("5s"), "for its whole answer")
    ca: FilePath = option("system", 'for https: "system", or a PEM file of authorities')


@frozen(kw_only=True)
class Jwt:
    """A JSON Web Token that somebody else has signed. Needs the extra `txrproxy[auth]`.

    It must have a time of expiry.
    """

    keys: KeySource = required(
        "a JSON Web Key Set: a file, followed when it changes, or a URL, asked again now and then",
        example='"file:jwks.json"',
    )
    audience: str = option("", "who the token must be meant for; empty: anybody", example='"api"')
    issuer: str = option(
        "", "who must have made it; empty: anybody", example='"https://login.example"'
    )
    algorithms: tuple[
        Literal[
            "RS256",
            "RS384",
            "RS512",
            "PS256",
            "PS384",
            "PS512",
            "ES256",
            "ES384",
            "ES512",
            "EdDSA",
        ],
        ...,
    ] = option(("RS256", "ES256", "EdDSA"), "of signatures that are accepted")
    leeway: Seconds = option(seconds("60s"), "by how much clocks may differ")
    claims: dict[Text, FieldName] = option(
        Factory(dict),
        "claims that a backend gets, each with its request field; dots lead into objects; a client "
        "can not set these fields",
        example='{ sub = "X-User", "realm.roles" = "X-Roles" }',
    )
    required: bool = option(True, "refuse requests without a token; false lets them pass")
    token: TokenPlace = option(
        TokenPlace("bearer"), 'where the token is: "bearer" is the Authorization field'
    )
    realm: FieldValue = option("restricted", "what a client is told that has no good token")
    refresh: Timeout = option(timeout("5m"), "how often the keys are looked at again")
    ca: FilePath = option("system", 'for an https URL: "system", or a PEM file of authorities')


@frozen(kw_only=True)
class Waf:
    """A web application firewall. Of the policies of a route, the last that has one decides."""

    mode: Literal["block", "detect", "off"] = option("block", '"detect" only logs')
    rules: tuple[Text, ...] = option(
        ("crs",),
        '"crs" is the OWASP core rule set; else files for ModSecurity 3, which come after it',
    )
    paranoia: Literal[1, 2, 3, 4] = option(1, "paranoia level of the core rule set")
    threshold: Positive = option(5, "anomaly score that blocks")
    exclude: tuple[RuleSelector, ...] = option(
        (),
        "rules that do not count: their ids, ranges of ids, tags",
        example='[942100, "942200-942299", "attack-rce"]',
    )
    responses: Literal["off", "headers", "bodies"] = option(
        "off",
        "what is inspected of responses as well; a body waits for it, to the end or waf.body, if "
        "it is text, JSON or XML and not compressed",
    )


@frozen(kw_only=True)
class WafAudit:
    """What is written of requests that matched rules, in JSON."""

    path: OptionalPath = option(
        "", "a file, reopened on a signal; empty: warnings in the error log"
    )


@frozen(kw_only=True)
class WafEngine:
    """The engine behind `policies.*.waf`: ModSecurity 3, from the extra `txrproxy[waf]`.

    It runs in processes of its own. Nothing is started where no policy asks for it.
    """

    processes: Positive = option(1, "for each worker")
    queue: Natural = option(256, "requests of one worker that may wait for an engine")
    timeout: Timeout = option(
        timeout("2s"), "for a verdict, the wait for an engine included; one stuck longer is killed"
    )
    on_failure: Literal["closed", "open"] = option(
        "closed",
        'without a verdict (timeout, full queue, a crash): "closed" answers 503, "open" lets the '
        "request through",
    )
    crs: FilePath = option(
        "auto", 'folder of the OWASP core rule set; "auto": where the system\'s package has it'
    )
    body: Size = option(size("128KiB"), "of a request or response body that is inspected")
    memo: Size = option(
        size("4MiB"),
        "of each worker, for verdicts on requests without a body, so that the same are not "
        "inspected again for a minute; 0B remembers none",
    )
    audit: WafAudit = option(Factory(WafAudit), "where matches are written")


@frozen(kw_only=True)
class FieldChanges:
    """Changes to header fields, in this order: remove, set, add."""

    set: dict[FieldName, FieldValue] = option(
        Factory(dict), "fields to replace, or to add when absent", example='{ "x-tier" = "edge" }'
    )
    add: dict[FieldName, FieldValue] = option(
        Factory(dict), "fields to add beside what is there", example='{ vary = "accept" }'
    )
    remove: tuple[FieldName, ...] = option((), "fields to take out", example='["x-debug"]')


@frozen(kw_only=True)
class Policy:
    """A named bundle of rules that routes `use`."""

    allow: tuple[Cidr, ...] = option(
        (), "client networks; when not empty, everyone else gets 403", example='["10.0.0.0/8"]'
    )
    deny: tuple[Cidr, ...] = option(
        (), "client networks that get 403", example='["203.0.113.0/24"]'
    )
    geo: Geo | None = option(
        None,
        "client countries and network operators",
        example='{ files = ["GeoLite2-Country.mmdb"], allow = ["CH", "LI"] }',
    )
    body_limit: Size = option(size("10MiB"), "of a request body; 413 beyond it")
    rate_limit: RateLimit | None = option(
        None,
        "requests of one client in a time; 429 beyond it, with Retry-After",
        example='{ key = "client_ip", rate = "50/s", burst = 100 }',
    )
    connection_limit: ConnectionLimit | None = option(
        None,
        "requests of one client in progress at a time; 429 beyond it",
        example='{ key = "client_ip", limit = 100 }',
    )
    cors: Cors | None = option(
        None,
        "what pages of other origins may ask for",
        example='{ origins = ["https://app.example"] }',
    )
    basic_auth: BasicAuth | None = option(
        None,
        "user name and password",
        example='{ realm = "staff", users = "file:users.htpasswd" }',
    )
    forward_auth: ForwardAuth | None = option(
        None,
        "ask another server",
        example='{ url = "http://127.0.0.1:7000/check", copy = ["Remote-User"] }',
    )
    jwt: Jwt | None = option(
        None,
        "a signed token",
        example='{ keys = "https://login.example/jwks", claims = { sub = "X-User" } }',
    )
    waf: Waf | None = option(
        None,
        "web application firewall",
        example='{ mode = "block", rules = ["crs"], paranoia = 1, threshold = 5 }',
    )
    hide: tuple[FieldName, ...] = option(
        ("server", "x-powered-by", "via"),
        "response fields of the backend that clients do not get. With server goes alt-svc, and "
        "with x-powered-by go x-aspnet-version and x-aspnetmvc-version",
    )
    request_headers: FieldChanges = option(
        Factory(FieldChanges), "changes to what the backend gets"
    )
    response_headers: FieldChanges = option(
        Factory(FieldChanges), "changes to what the client gets"
    )
    security_headers: Literal["off", "basic", "strict"] = option(
        "off",
        "response fields that browsers act on, where the backend sends none of its own; over TLS "
        'with Strict-Transport-Security: "basic" is safe for most, "strict" is for applications '
        "that load nothing from elsewhere",
    )


@frozen(kw_only=True)
class ClientCert:
    """What the client's verified TLS certificate must say; no other client matches.

    Values are compared whole, percent-encoded as in `X-Client-Cert-Subject` and `-San`.
    """

    subject: tuple[Text, ...] = option(
        (), "the distinguished name, as RFC 4514 writes it", example='"CN=alice,O=Example"'
    )
    san: tuple[Text, ...] = option(
        (),
        "an alternative name with its kind: DNS:, IP:, URI: or email:",
        example='["DNS:alice.example", "URI:spiffe://example/alice"]',
    )
    fingerprint: tuple[Fingerprint, ...] = option(
        (),
        "SHA-256 of the certificate in hexadecimal, colons or none",
        example='"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"',
    )


@frozen(kw_only=True)
class Match:
    """Conditions of a route: all keys given must hold, and a list means any of its values.

    Without keys it takes every request.
    """

    host: tuple[HostPattern, ...] = option(
        (),
        'ignores case, without port; "*.example.com" takes one or more labels in front',
        example='["example.com", "*.example.com"]',
    )
    path: tuple[PathPattern, ...] = option(
        (),
        'exact, or a prefix when it ends in "*": "/static/*" takes "/static/" and all below',
        example='"/static/*"',
    )
    path_regex: Regex | None = option(
        None,
        "found anywhere in the path, unless ^ and $ anchor it; RE2 syntax",
        example="'^/users/[0-9]+$'",
    )
    method: tuple[Method, ...] = option((), "case-sensitive", example='["GET", "HEAD"]')
    header: dict[FieldName, tuple[FieldValue, ...]] = option(
        Factory(dict), "fields and their exact values", example='{ "x-beta" = "1" }'
    )
    query: dict[Text, tuple[str, ...]] = option(
        Factory(dict), "query parameters and their exact values", example='{ version = "2" }'
    )
    client: tuple[Cidr, ...] = option(
        (), "networks that the client's address is in", example='["10.0.0.0/8"]'
    )
    client_cert: ClientCert | None = option(
        None,
        "what the client's TLS certificate says; it is there only where client_auth asks for it",
        example='{ subject = "CN=alice,O=Example" }',
    )


@frozen(kw_only=True)
class RouteCache:
    """Responses of this route may be stored."""

    store: Name = required("which of [caches.*]", example='"main"')
    default_ttl: Seconds = option(
        seconds("0s"), "how long a response is fresh that says nothing of it"
    )
    stale_while_revalidate: Seconds = option(
        seconds("0s"), "serve stale this long while a fresh copy is fetched"
    )
    stale_if_error: Seconds = option(seconds("0s"), "serve stale this long when backends fail")
    collapse: bool = option(True, "requests for the same thing wait for one fetch")
    key: tuple[CacheKeyPart, ...] = option(
        ("host", "path", "query"),
        'what tells responses apart: also "scheme", "header:NAME", "cookie:NAME"',
    )
    min_uses: Positive = option(1, "requests for a thing before it is stored")
    show_key: bool = option(False, "tell the key in Cache-Status, to find out what is told apart")


@frozen(kw_only=True)
class Rewrite:
    """Changes to the path before the backend gets it: strip_prefix, then replace, then prefix."""

    strip_prefix: str = option(
        "", "taken off the front, where it ends at a slash or the end", example='"/api"'
    )
    prefix: str = option("", "put in front", example='"/v2"')
    replace: tuple[str, str] = option(
        ("", ""),
        "a regular expression (RE2) and what stands for each match of it; \\1 is a group",
        example="['^/old/(.*)', '/new/\\1']",
    )


@frozen(kw_only=True)
class RouteTimeouts:
    """The pool's timeouts, overridden for one route."""

    connect: Timeout | None = option(None, "to connect, TLS included", example='"1s"')
    first_byte: Timeout | None = option(
        None, "from the end of the request to the response's first byte", example='"5m"'
    )
    idle: Timeout | None = option(
        None, "between two pieces of a response or a tunnel", example='"1h"'
    )
    queue: Timeout | None = option(None, "a request's wait for a free backend", example='"1s"')
    total: Seconds | None = option(None, "for all tries of a request", example='"20s"')


@frozen(kw_only=True)
class Redirect:
    """Sends the client elsewhere."""

    to: RedirectTarget = required(
        'URL or path. {path} is what the "*" of match.path stood for, empty for an exact path; '
        "{uri} the path and query as they came; {query} without its question mark; {host}; "
        "{scheme}. The request's query is appended unless `to` speaks of it or ends in a bare "
        "question mark",
        example='"https://example.com/new/{path}"',
    )
    status: Literal[301, 302, 303, 307, 308] = option(
        308, "308 and 307 keep the method, 301 and 308 are permanent"
    )


@frozen(kw_only=True)
class Respond:
    """Answers without a backend."""

    status: Status = option(200, "of the response")
    body: str = option("", "sent as UTF-8 text")
    headers: dict[FieldName, FieldValue] = option(
        Factory(dict), "sent with it", example='{ "retry-after" = "60" }'
    )


@frozen(kw_only=True)
class Route:
    """What happens to the requests that match. The first route that matches wins."""

    name: Name = required("unique; appears in logs and metrics", example='"static"')
    match: Match = option(
        Factory(Match),
        "conditions; without any it takes every request",
        example='{ host = "example.com", path = "/static/*" }',
    )
    use: tuple[Name, ...] = option(
        (),
        "policies; a route without any has no limit on bodies and hides no fields",
        example='["public"]',
    )
    pool: Name | None = option(
        None,
        "the backends; a route has exactly one of pool, split, redirect, respond, resource",
        example='"app"',
    )
    split: dict[Name, Positive] = option(
        Factory(dict), "pools by weight", example="{ app = 95, next = 5 }"
    )
    redirect: Redirect | None = option(
        None,
        "send the client elsewhere",
        example='{ to = "https://example.com/new/{path}", status = 308 }',
    )
    respond: Respond | None = option(
        None, "answer without a backend", example='{ status = 503, body = "back soon" }'
    )
    resource: ResourceName | None = option(
        None, "any twisted.web IResource", example='"package.module:object"'
    )
    cache: RouteCache | None = option(
        None, "store responses; off without it", example='{ store = "main" }'
    )
    rewrite: Rewrite = option(Factory(Rewrite), "changes to the path before the backend gets it")
    websocket: bool = option(True, "let WebSocket and other upgrades through")
    timeouts: RouteTimeouts = option(
        Factory(RouteTimeouts), "the pool's timeouts, overridden", example='{ first_byte = "5m" }'
    )


@frozen(kw_only=True)
class TestRequest:
    """The request of a test."""

    url: HttpUrl = required("absolute", example='"https://example.com/static/a.css"')
    method: Method = option("GET", "of the request")
    headers: dict[FieldName, FieldValue] = option(
        Factory(dict), "of the request", example='{ "x-beta" = "1" }'
    )
    client: Cidr = option(
        ip_network("192.0.2.1/32"), "address that it comes from; the default is nobody's"
    )
    listener: Name | None = option(
        None,
        "that it comes to; without it, the first with the scheme and port of the URL, or with the "
        "scheme alone",
        example='"http"',
    )


@frozen(kw_only=True)
class TestExpect:
    """What a test's request must lead to; what is absent is not looked at.

    Requests go through the code that serves, one by one, without a network: backends are up and
    answer nothing, caches are empty, and who would have to be asked (`forward_auth`, a password)
    lets everyone pass.
    """

    route: Name | None = option(None, "name of the route", example='"static"')
    pool: Name | None = option(
        None, "pool that it is sent to; of a split, any that has a share", example='"app"'
    )
    cacheable: bool | None = option(None, "whether a cache is asked for it first", example="true")
    status: Status | None = option(
        None, "of the proxy's own response: a redirect, a refusal", example="308"
    )
    location: str | None = option(
        None, "where the response sends the client", example='"https://example.com/new/a"'
    )
    policy: Name | None = option(None, "a policy that the route uses", example='"public"')


@frozen(kw_only=True)
class RouteTest:
    """Run by `txrproxy check` and before every reload; one that fails refuses it."""

    request: TestRequest = required(
        "what is sent", example='{ url = "https://example.com/static/a.css" }'
    )
    expect: TestExpect = required("what it must lead to", example='{ route = "static" }')


@frozen(kw_only=True)
class Config:
    """A whole configuration. :func:`txrproxy.config.toml.load` makes one of a file."""

    version: Literal[1] = required("of this file's format", example="1")
    include: tuple[FilePath, ...] = option(
        (),
        "more files, as globs relative to this file; tables merge, a name defined twice is an "
        "error, routes and tests are appended in order",
        example='["conf.d/*.toml"]',
    )
    server: Server = option(Factory(Server), "the process as a whole")
    log: Log = option(Factory(Log), "where events go")
    admin: Admin | None = option(None, "the admin server; none runs without the table")
    listeners: dict[Name, Listener] = option(Factory(dict), "where clients connect")
    pools: dict[Name, Pool] = option(Factory(dict), "groups of backends")
    caches: dict[Name, Cache] = option(Factory(dict), "stores for responses")
    policies: dict[Name, Policy] = option(Factory(dict), "bundles of rules that routes use")
    waf: WafEngine = option(Factory(WafEngine), "the engine of web application firewalls")
    routes: tuple[Route, ...] = option((), "what happens to which request; the first match wins")
    tests: tuple[RouteTest, ...] = option((), "requests and where they must lead")
    base: Path = field(default=Path(), metadata={"hidden": True})  # folder of the main file

    def resolve(self, path: str) -> Path:
        """Where a path of this configuration is: relative ones start at ``base``."""
        return self.base / path
