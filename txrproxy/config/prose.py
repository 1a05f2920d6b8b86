"""The parts of the manual that are prose; the tables come from the schema."""

FAULTY = """\
version = 1

[listeners.http]
bind = ["127.0.0.1:8080"]
head_timeot = "10s"

[pools.app]
backends = ["http://10.0.0.1:8080"]
timeouts = { connect = 2 }

[[routes]]
name = "all"
pool = "ap"
"""

INTRODUCTION = """\
# Configuration

<!-- Written by `python -m txrproxy.config.reference`; change txrproxy/config/schema.py instead. -->

txrproxy reads one TOML file, which may include others. The smallest whole one:

```toml
version = 1

[listeners.http]
bind = ["0.0.0.0:8080"]

[pools.app]
backends = ["http://127.0.0.1:3000"]

[[routes]]
name = "all"
pool = "app"
```

`etc/txrproxy.toml` has every key with its default and what it means.

## Files

The file is named on the command line: `twistd txrproxy --config edge.toml`; there is no place that
is searched. `txrproxy check edge.toml` reads it as the server would, runs its `[[tests]]`, prints
what is wrong or a summary of what it says, and exits with 1 or 0. [cli.md](cli.md) has more on
tests, and on `txrproxy explain`, which says why a request goes where it goes.

Paths in it are relative to the folder of this file, wherever the server is started from. That
holds for paths in included files too.

`include` takes globs, relative to the file: `include = ["conf.d/*.toml"]`. Files are added in the
order of the list, those of one glob sorted by name. Tables merge: `[pools.app]` may stand in one
file and `[pools.api]` in another, but one name defined in two files is an error that names both
places. `[[routes]]` and `[[tests]]` are appended, so those of the main file come first. A glob that
matches nothing is fine; a plain name that does not exist is an error. Only the main file includes.

## Values

| Form | Written | Note |
|---|---|---|
| duration | `"250ms"` `"30s"` `"5m"` `"1h"` `"7d"` | with a unit, always |
| size | `"512B"` `"64KiB"` `"10MiB"` `"1GiB"` | powers of 1024 |
| rate | `"50/s"` `"600/m"` `"1000/h"` | |
| network | `"10.0.0.0/8"` `"2001:db8::/32"` `"192.0.2.7"` | no host bits |
| address | `"127.0.0.1:8080"` `"[::1]:8080"` `"unix:run/web.sock"` | |
| secret | `"file:tls/example.key"` `"env:TOKEN"` | never the secret itself |

A secret is never in the file, only where it is found: a file, or a variable of the server's
environment. A secret that is written there by mistake is an error, and is not repeated in it.

## Errors

All problems of all files are reported at once. Each names the file and line, the key, what was
found, and what is allowed. This file

```toml
{faulty}
```

gives

```text
{problems}
```

A key may be valid and not available yet in this version: it is checked like any other, and refused
where it is used. Written out with its default, it passes. The tables below mark such keys.
"""

ROUTING = """\
## Routing

Routes are tried in the order of the file, and the first that matches wins. `txrproxy check` warns
of one that can never match. When none does, the proxy answers 404 with the reason `no_route`.

All keys of a `match` must hold; a list means any of its values, and one value may be written
without brackets. A `match` without keys takes every request.

- `host` ignores case and has no port. `"*.example.com"` takes one or more labels in front, not
  `example.com` itself.
- `path` is exact, or a prefix when it ends in `*`: `"/static/*"` takes `/static/` and all below,
  `"/*"` takes everything. It is compared to the path after percent-encoded unreserved characters
  are decoded and dot segments are resolved, so that `/a/%2e%2e/admin` is `/admin`. The backend
  gets the path as the client wrote it, unless `rewrite` changes it.
- `path_regex` is searched for in that path: anchor it with `^` and `$`. It is RE2: no look-around,
  no backreferences, and no pattern that takes exponential time.
- `header` and `query` compare exact values.
- `client` is the address of the client, taken from `X-Forwarded-For` (or `Forwarded`, where there
  is none) only when the connection comes from `server.trusted_proxies`.

A route has exactly one target: `pool`, `split` (pools by weight), `redirect`, `respond`, or
`resource` (a `twisted.web` resource of your own, embedded).

## Policies

A policy is a bundle of rules with a name, and holds for the routes that `use` it. Its defaults are
rules too: a policy in which nothing is written limits bodies to 10 MiB and hides `Server`,
`X-Powered-By` and `Via`. A route that uses no policy has none of that: no limit, and fields of the
backend as they are.

Where a route uses several, each request has to satisfy all of them:

- First every `allow` and `deny` has to let it pass, then every `connection_limit`, `rate_limit`,
  `cors`, `basic_auth`, `jwt` and `forward_auth`, in this order, and those of one kind in the order
  of `use`.
- `body_limit`: the smallest holds. `hide`: all that any of them names.
- `request_headers` and `response_headers`: first every `remove`, then every `set`, where the last
  policy wins for a name, then every `add`.
- `security_headers`: the strictest. `waf`: the last that has one, `mode = "off"` included.

So what is to hold everywhere is a policy that every route uses, and what is to be looser on one
route (a larger `body_limit`) is another policy in its place, not one more beside it.
"""

SAMPLE = """\
# Every key of a txrproxy configuration, with its default. docs/configuration.md says more.
#
# Lines that begin with "#" and no space are tables and keys that are absent unless you write them;
# what they show is an example. Written by `python -m txrproxy.config.reference`.
"""
