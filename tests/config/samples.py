"""Configurations for tests."""

from __future__ import annotations

from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import loads

MINIMAL = """\
version = 1
[listeners.http]
bind = ["127.0.0.1:8080"]
[pools.app]
backends = ["http://127.0.0.1:3000"]
[[routes]]
name = "all"
pool = "app"
"""

# Every key of the configuration contract.
CONTRACT = r"""
version = 1
include = []

[server]
workers = "auto"
drain_timeout = "30s"
max_connections = 20000
backlog = 4096
trusted_proxies = []
state_dir = "state"

[log]
access = { path = "-", format = "json", redact = [] }
error = { path = "-", level = "info", format = "text" }

[admin]
listen = "127.0.0.1:9900"
token = "env:TXRPROXY_TOKEN"
metrics = true

[listeners.http]
bind = ["127.0.0.1:8080"]
redirect_https = false
proxy_protocol = "off"
head_timeout = "10s"
body_timeout = "30s"
idle_timeout = "60s"
write_timeout = "60s"
max_head = "32KiB"
max_fields = 128
keepalive_requests = 10000

[listeners.https]
bind = ["127.0.0.1:8443"]
protocols = ["h2", "http/1.1"]

[listeners.https.tls]
certificates = [{ cert = "tls/example.pem", key = "file:tls/example.key" }]
self_signed = false
min_version = "1.2"
profile = "intermediate"
session_tickets = true
client_ca = "tls/clients.pem"
client_auth = "off"
reload = "10s"

[pools.app]
backends = [
  "http://10.0.0.1:8080",
  { url = "http://10.0.0.2:8080", weight = 2, priority = 0, max_connections = 200 },
  { url = "unix:/run/app.sock" },
]
balance = "round_robin"
hash_key = "client_ip"
sticky = { cookie = "txr" }
slow_start = "0s"
resolve = "30s"
panic_threshold = 0.5
keepalive = { idle = 64, timeout = "50s", requests = 10000 }
timeouts = { connect = "2s", first_byte = "30s", idle = "60s", queue = "5s" }
tls = { verify = true, ca = "system", server_name = "auto", cert = "", key = "" }
host = "preserve"

[pools.app.health]
path = "/healthz"
interval = "5s"
timeout = "2s"
rise = 2
fall = 3
expect = "200-399"
body = ""
host = ""
initial = "probe"

[pools.app.outlier]
consecutive_errors = 5
eject = "30s"
max_ejected = 0.5

[pools.app.retry]
attempts = 2
on = ["connect", "reset", "timeout", "502", "503", "504"]
budget = 0.2
non_idempotent = false

[pools.next]
backends = ["http://10.0.0.3:8080"]

[caches.main]
path = "cache"
max_size = "1GiB"
max_object = "100MiB"
memory = "64MiB"

[policies.public]
allow = []
deny = []
body_limit = "10MiB"
rate_limit = { key = "client_ip", rate = "50/s", burst = 100 }
connection_limit = { key = "client_ip", limit = 100 }
basic_auth = { realm = "staff", users = "file:users.htpasswd" }
forward_auth = { url = "http://127.0.0.1:7000/check", copy = ["Remote-User"] }
waf = { mode = "block", rules = ["crs"], paranoia = 1, threshold = 5 }
hide = ["server", "x-powered-by", "via"]
request_headers = { set = {}, add = {}, remove = [] }
response_headers = { set = {}, add = {}, remove = [] }
security_headers = "off"

[[routes]]
name = "static"
use = []
pool = "app"
rewrite = { strip_prefix = "", prefix = "", replace = ["", ""] }
websocket = true
timeouts = {}
[routes.match]
host = ["example.com", "*.example.com"]
path = "/static/*"
method = ["GET", "HEAD"]
header = { x-beta = "1" }
query = { v = "2" }
path_regex = "/static/.*"
client = ["10.0.0.0/8"]
[routes.cache]
store = "main"
default_ttl = "0s"
stale_while_revalidate = "0s"
stale_if_error = "0s"
collapse = true
key = ["host", "path", "query"]
min_uses = 1

[[routes]]
name = "canary"
match = { path = "/api/*" }
split = { app = 95, next = 5 }

[[routes]]
name = "moved"
match = { path = "/old/*" }
redirect = { to = "https://example.com/new/{path}", status = 308 }

[[routes]]
name = "maintenance"
match = { path = "/down" }
respond = { status = 503, body = "back soon", headers = { "retry-after" = "60" } }

[[routes]]
name = "embedded"
match = { path = "/admin-docs/*" }
resource = "package.module:object"

[[tests]]
request = { url = "https://example.com/static/a.css", method = "GET", headers = {} }
expect = { route = "static", pool = "app", cacheable = true }
"""


def problems(text: str, *, available: bool = True) -> list[str]:
    """What is wrong with a text, one line each, without the name of the file."""
    try:
        loads(text, "", available=available)
    except ConfigErrors as error:
        return str(error).split("\n")
    return []


def with_route(keys: str) -> str:
    """The minimal configuration and a second route; its first key is on line 10."""
    return f"{MINIMAL}[[routes]]\n{keys}"
