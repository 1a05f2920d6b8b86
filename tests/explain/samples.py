"""A configuration with something of everything."""

from __future__ import annotations

from txrproxy.config.schema import Config
from txrproxy.config.toml import loads

EDGE = """\
version = 1

[server]
trusted_proxies = ["10.9.0.0/16"]

[listeners.http]
bind = ["0.0.0.0:80"]
redirect_https = true

[listeners.https]
bind = ["0.0.0.0:8443"]
[listeners.https.tls]
self_signed = true

[listeners.inside]
bind = ["127.0.0.1:8080"]

[pools.app]
backends = ["http://10.0.0.1:3000", { url = "http://10.0.0.2:3000", weight = 3 }]
outlier = {}
[pools.next]
backends = ["http://next.internal:3000"]
host = "backend"
[pools.mine]
backends = ["https://10.0.0.4"]
sticky = { cookie = "txr" }
tls = { ca = "no-such-file.pem" }
[pools.mine.health]
path = "/healthz"

[caches.main]
path = "cache"

[policies.office]
allow = ["10.1.0.0/16"]
body_limit = "1KiB"
[policies.guarded]
rate_limit = { key = "client_ip", rate = "1/h", burst = 1 }
connection_limit = { key = "client_ip", limit = 1 }
forward_auth = { url = "http://127.0.0.1:7000/check", copy = ["Remote-User"] }
cors = { origins = ["https://app.example"] }
hide = ["server"]
request_headers = { set = { x-from = "edge" } }
security_headers = "basic"

[[routes]]
name = "static"
match = { host = "example.com", path = "/static/*" }
pool = "app"
cache = { store = "main", default_ttl = "60s" }

[[routes]]
name = "office"
match = { path = "/office/*" }
use = ["office"]
pool = "app"
rewrite = { strip_prefix = "/office" }

[[routes]]
name = "guarded"
match = { path = "/guarded/*" }
use = ["guarded", "office"]
pool = "app"

[[routes]]
name = "canary"
match = { path = "/api/*", header = { x-beta = "1" } }
split = { app = 3, next = 1 }

[[routes]]
name = "moved"
match = { path = "/old/*" }
redirect = { to = "https://example.com/new/{path}" }

[[routes]]
name = "next"
match = { path = "/next" }
pool = "next"

[[routes]]
name = "mine"
match = { path = "/mine" }
pool = "mine"

[[routes]]
name = "embedded"
match = { path = "/embedded" }
resource = "no.such:module"
"""


def edge(more: str = "") -> Config:
    return loads(EDGE + more)
