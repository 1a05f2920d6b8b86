"""For each form: what is taken and becomes what, and what is refused and why."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config import values as v
from txrproxy.config.forms import FORMS, Unfit, seconds, size, write_seconds, write_size
from txrproxy.config.values import (
    BackendUrl,
    Bind,
    LimitKey,
    NameServer,
    Rate,
    RequestKey,
    Secret,
    Statuses,
)

TAKEN: dict[Any, dict[Any, Any]] = {
    str: {"": "", "x\n": "x\n"},
    bool: {True: True, False: False},
    int: {-5: -5},
    v.Seconds: {"250ms": 0.25, "0s": 0, "1.5s": 1.5, "5m": 300, "1h": 3600, "7d": 604800},
    v.Timeout: {"1ms": 0.001},
    v.Size: {"0B": 0, "512B": 512, "64KiB": 65536, "10MiB": 10 << 20, "1GiB": 1 << 30},
    v.Rate: {"50/s": Rate(50, 1), "600/m": Rate(600, 60), "7/h": Rate(7, 3600)},
    v.Share: {0: 0.0, 1: 1.0, 0.25: 0.25},
    v.Natural: {0: 0, 7: 7},
    v.Positive: {1: 1},
    v.Status: {200: 200, 599: 599},
    v.Name: {"main": "main", "blue green é": "blue green é"},
    v.Text: {" ": " "},
    v.FilePath: {"a/b": "a/b"},
    v.OptionalPath: {"": "", "a": "a"},
    v.OptionalSecret: {"": "", "env:A": Secret("env", "A")},
    v.Fingerprint: {"ab" * 32: "ab" * 32, ":".join(["0F"] * 32): "0f" * 32},
    v.FieldName: {"x-Frame_options": "x-Frame_options"},
    v.FieldValue: {"": "", "a\tb é": "a\tb é"},
    v.Method: {"GET": "GET", "PURGE": "PURGE", "purge": "purge"},
    v.HostPattern: {
        "Example.COM": "example.com",
        "*.Example.com": "*.example.com",
        "127.0.0.1": "127.0.0.1",
        "[::0001]": "[::1]",
        "my_service": "my_service",
    },
    v.PathPattern: {"/": "/", "/*": "/*", "/a%2F;b=c,d/..x*": "/a%2F;b=c,d/..x*"},
    v.Regex: {"^/a$": "^/a$"},
    v.HttpUrl: {"https://user:pw@example.com:8/x?y": "https://user:pw@example.com:8/x?y"},
    v.RedirectTarget: {
        target: target
        for target in (
            "https://example.com/new/{path}",
            "/x?{query}",
            "{scheme}://{host}/",
            "{uri}",
            "http://example.com",
        )
    },
    v.ResourceName: {"a.b_1:c.d": "a.b_1:c.d", "a:b": "a:b"},
    v.UpstreamHost: {
        host: host
        for host in ("preserve", "backend", "a.example", "a.example:81", "[::1]", "[::1]:81")
    },
    v.HostField: {host: host for host in ("", "a.example", "a.example:81", "[::1]", "[::1]:81")},
    v.RequestTarget: {t: t for t in ("/", "/healthz", "/up?full=1&deep=%20", "/a;b/../*")},
    v.CacheKeyPart: {k: k for k in ("scheme", "host", "path", "query", "header:X", "cookie:a")},
    v.Cidr: {
        "10.0.0.0/8": ip_network("10.0.0.0/8"),
        "192.0.2.7": ip_network("192.0.2.7/32"),
        "2001:db8::/32": ip_network("2001:db8::/32"),
    },
    v.Workers: {"auto": "auto", 0: 0, 1024: 1024},
    v.RedirectHttps: {True: True, False: False, 8443: 8443},
    v.RuleSelector: {
        942100: 942100,
        "942100-942190": "942100-942190",
        "attack-sqli": "attack-sqli",
    },
    Secret: {"file:a:b": Secret("file", "a:b"), "env:TOKEN": Secret("env", "TOKEN")},
    Bind: {
        "127.0.0.1:0": Bind("tcp", "127.0.0.1", 0),
        "localhost:80": Bind("tcp", "localhost", 80),
        "[::]:80": Bind("tcp", "::", 80),
        "unix:run/a.sock": Bind("unix", name="run/a.sock"),
        "fd:web": Bind("fd", name="web"),
    },
    BackendUrl: {
        "http://a": BackendUrl("http", "a", 80),
        "http://a/": BackendUrl("http", "a", 80),
        "https://a.b.": BackendUrl("https", "a.b.", 443),
        "https://10.0.0.1:8443": BackendUrl("https", "10.0.0.1", 8443),
        "http://[::1]": BackendUrl("http", "::1", 80),
        "http://[::1]:81": BackendUrl("http", "::1", 81),
        "unix:/run/app.sock": BackendUrl("unix", path="/run/app.sock"),
        "https://_web._tcp.a.b": BackendUrl("https", "_web._tcp.a.b", 0),
        "http://my_app": BackendUrl("http", "my_app", 80),
    },
    NameServer: {
        "10.0.0.2": NameServer("10.0.0.2", 53),
        "10.0.0.2:5353": NameServer("10.0.0.2", 5353),
        "2001:DB8::2": NameServer("2001:db8::2", 53),
        "[::1]": NameServer("::1", 53),
        "[::1]:5353": NameServer("::1", 5353),
    },
    RequestKey: {
        "client_ip": RequestKey("client_ip"),
        "path": RequestKey("path"),
        "uri": RequestKey("uri"),
        "header:X-Id": RequestKey("header", "X-Id"),
        "cookie:a": RequestKey("cookie", "a"),
    },
    LimitKey: {
        "client_ip": LimitKey((RequestKey("client_ip"),)),
        "client_ip+route": LimitKey((RequestKey("client_ip"), RequestKey("route"))),
        "header:X+path": LimitKey((RequestKey("header", "X"), RequestKey("path"))),
    },
    v.AddressBits: {32: 32, 128: 128},
    v.KeySource: {
        "file:jwks.json": Secret("file", "jwks.json"),
        "https://login.example/jwks": "https://login.example/jwks",
    },
    v.Place: {"CH": "CH", "AS": "AS", "AS64500": "AS64500", "unknown": "unknown"},
    v.TokenPlace: {"bearer": "bearer", "cookie:t": "cookie:t"},
    v.CorsOrigin: {
        "*": "*",
        "https://App.example": "https://app.example",
        "https://*.example.com:8443": "https://*.example.com:8443",
        "http://[::1]:81": "http://[::1]:81",
        "app+x://localhost": "app+x://localhost",
    },
    Statuses: {
        "200": Statuses(((200, 200),)),
        "200-399, 404": Statuses(((200, 399), (404, 404))),
    },
}

# The reason is what the exception says beyond the form; "" where the form says it all.
REFUSED: dict[Any, dict[Any, str]] = {
    int: {"1": "", 1.0: ""},
    bool: {"true": "", 1: ""},
    v.Seconds: {
        "5": "",
        "-5s": "",
        "5 s": "",
        "5sec": "",
        "1e3s": "",
        "5s\n": "",
        "٣s": "",
        "9999d": "it is longer than ten years",
    },
    v.Timeout: {"0s": "zero is no time at all", "0ms": "zero is no time at all", "x": ""},
    v.Size: {"64": "", "64KB": "", "1.5MiB": "", "-1B": "", "99999TiB": "it is beyond any disk"},
    v.Rate: {"0/s": "", "5": "", "5/d": ""},
    v.Share: {-0.1: "", 1.01: "", True: "", float("nan"): "", "0.5": ""},
    v.Natural: {-1: "", True: "", 1 << 60: ""},
    v.Positive: {0: ""},
    v.Status: {199: "", 600: ""},
    v.Name: {"": "", "a" * 101: "", "a\nb": "", 'a"b': "", "a{b": ""},
    v.Text: {"": "the string is empty"},
    v.FilePath: {"": "", "a\0b": ""},
    v.Fingerprint: {"": "", "ab" * 31: "", "zz" * 32: ""},
    v.FieldName: {"": "", "a b": "", "a:": "", "é": ""},
    v.FieldValue: {
        "a\nb": "it has control characters",
        "a\x7f": "it has control characters",
        " a": "it begins or ends with white space",
    },
    v.Method: {
        "G T": "",
        "": "",
        "get": 'methods are case-sensitive; did you mean "GET"?',
    },
    v.HostPattern: {
        "bücher.example": 'an international name is written in its ASCII form ("xn--...")',
        "a:80": "a port has no place in it",
        "*": '"*." stands only at the front; without `host` a route takes every host',
        "a.*.b": '"*." stands only at the front; without `host` a route takes every host',
        "a..b": "",
        "a.": "",
        "": "",
        "[::x]": "the IPv6 address is not valid",
    },
    v.PathPattern: {
        "a": 'it does not begin with "/"',
        "": 'it does not begin with "/"',
        "/*/a": '"*" stands only at the end; path_regex takes more',
        "/a b": "it has characters that a path holds only percent-encoded",
        "/é": "it has characters that a path holds only percent-encoded",
        "/a?b": "it has characters that a path holds only percent-encoded",
        "/%2": "it has characters that a path holds only percent-encoded",
        "/a/../b": '"." and ".." are resolved before a path is matched',
        "/.": '"." and ".." are resolved before a path is matched',
    },
    v.Regex: {"": "the string is empty"},
    v.HttpUrl: {
        "ftp://a/": "",
        "http:///x": "the host is neither an address nor a name",
        "http://[::1/": "",
        "http://a\n/": "white space and control characters have no place in it",
    },
    v.RedirectTarget: {
        "": "",
        "example.com": "",
        "/a b": "",
        "/é": "",
        "/{pth}": "{pth} is unknown; there are {path}, {uri}, {query}, {host}, {scheme}",
        "/{path": "a brace is not closed",
    },
    v.ResourceName: {"a.b": "", "a:b:c": "", "a-b:c": "", ":c": "", "1a:b": ""},
    v.UpstreamHost: {
        "a b": "the host is neither an address nor a name",
        "a:99999": "the port is not a number up to 65535",
    },
    v.HostField: {
        "a b": "the host is neither an address nor a name",
        "a\r\nb: c": "the host is neither an address nor a name",
        "a:99999": "the port is not a number up to 65535",
    },
    v.RequestTarget: {
        "": 'it does not begin with "/"',
        "healthz": 'it does not begin with "/"',
        "/a b": "it has characters that a URL holds only percent-encoded",
        "/a#b": "it has characters that a URL holds only percent-encoded",
        "/%zz": "it has characters that a URL holds only percent-encoded",
        "/é": "it has characters that a URL holds only percent-encoded",
        "/\r\n": "it has characters that a URL holds only percent-encoded",
    },
    v.CacheKeyPart: {"header": "", "header:a b": "", "body": ""},
    v.Cidr: {
        "10.0.0.1/8": 'host bits are set; the network is "10.0.0.0/8"',
        "10.0.0.0/33": "",
        "fe80::1%eth0": "a scope is not part of a network",
    },
    v.Workers: {"2": "", -1: "", True: "", 1025: ""},
    v.RedirectHttps: {0: "", 65536: "", "443": ""},
    v.RuleSelector: {0: "", True: "", "942100": "", "a b": "", "-1": "", 'x"': "", "1-2-3": ""},
    Secret: {"hunter2": "", "file:": "", "env": "", "http:x": "", "env:a\nb": ""},
    v.OptionalSecret: {"x": ""},
    v.OptionalPath: {"\0": ""},
    Bind: {
        "8080": "the port is missing",
        ":80": 'the host is missing; "0.0.0.0" or "[::]" takes every address',
        "unix:": "",
        "fd:a\0": "",
        "::1:80": "an IPv6 address is written in brackets",
        "a:http": "the port is not a number up to 65535",
        "a:65536": "the port is not a number up to 65535",
        "[1.2.3.4]:80": "the IPv6 address is not valid",
        "1.2.3:80": "the host is neither an address nor a name",
        "256.1.1.1:80": "the host is neither an address nor a name",
    },
    BackendUrl: {
        "10.0.0.1:80": "",
        "ftp://a": "",
        "http://": "the host is neither an address nor a name",
        "http://a:0": "the port is 1 to 65535",
        "http://a:": "the port is not a number up to 65535",
        "http://u:p@a": "a user name and password have no place in it",
        "http://a/x": "a path or query has no place in it; a route's rewrite sets a path",
        "http://a?": "a path or query has no place in it; a route's rewrite sets a path",
        "http://a\t": "white space and control characters have no place in it",
        "http://a ": "white space and control characters have no place in it",
        "http://[::1": "",
        "http://_http._tcp.a:80": "SRV records say the port; a name with one has no underscore "
        "in front",
        "http://_http.a": 'a name of SRV records is written "_service._tcp.name"',
        "http://_http._udp.a": 'a name of SRV records is written "_service._tcp.name"',
        "http://_http._tcp.": 'a name of SRV records is written "_service._tcp.name"',
        "unix:run/app": "the path of a socket begins with one slash",
        "unix://run/app": "the path of a socket begins with one slash",
    },
    NameServer: {
        "dns.example": "it is no address",
        "dns.example:53": "it is no address",
        "10.0.0.2:0": "the port is 1 to 65535",
        "[x]": "the IPv6 address is not valid",
        "": "it is no address",
    },
    RequestKey: {"ip": "", "header:": "", "cookie:a b": ""},
    LimitKey: {"": "", "client_ip+": "", "ip": "", "path+path": "a part is there twice"},
    v.AddressBits: {31: "", 129: ""},
    v.KeySource: {
        "jwks.json": "",
        "https://": "the host is neither an address nor a name",
    },
    v.Place: {"": "", "ch": "", "CHE": "", "AS01": "", "AS12345678901": "", "as1": "", "*": ""},
    v.TokenPlace: {"": "", "cookie:": "", "cookie": "", "bearer:x": "", "header:x": ""},
    v.CorsOrigin: {
        "app.example": "",
        "1://a": "",
        "https://app.example/": "an origin is a scheme, a host and a port, nothing more",
        "https://a.*.b": "an origin is a scheme, a host and a port, nothing more",
        "https://app.example:443": "browsers leave the default port out",
        "http://a:80": "browsers leave the default port out",
    },
    Statuses: {"600": "", "": "", "300-200": "a range goes from low to high", "2xx": ""},
}


class Forms(SynchronousTestCase):
    def test_taken(self) -> None:
        for kind, cases in TAKEN.items():
            for written, value in cases.items():
                parsed = FORMS[kind].parse(written)
                self.assertEqual((parsed, type(parsed)), (value, type(parsed)), (kind, written))

    def test_every_form_has_cases(self) -> None:
        self.assertEqual(set(FORMS) - set(TAKEN), {tuple[str, str]})

    def test_refused(self) -> None:
        for kind, cases in REFUSED.items():
            for written, reason in cases.items():
                with self.assertRaises(Unfit, msg=(kind, written)) as caught:
                    FORMS[kind].parse(written)
                self.assertEqual(str(caught.exception), reason, (kind, written))

    def test_other_types_are_refused(self) -> None:
        for kind, form in FORMS.items():
            for value in ([], {}, None, 1j, b"x"):
                self.assertRaises(Unfit, form.parse, value)
            if form.quoted:
                for value in (5, 1.5, True):
                    self.assertRaises(Unfit, form.parse, value)
            self.assertTrue(form.expected and form.kind, kind)

    def test_pair(self) -> None:
        form = FORMS[tuple[str, str]]
        self.assertEqual(form.parse(["a", "b"]), ("a", "b"))
        for value in (["a"], ["a", "b", "c"], ["a", 1], "ab"):
            self.assertRaises(Unfit, form.parse, value)

    def test_written_back(self) -> None:
        for kind, cases in TAKEN.items():
            form = FORMS[kind]
            if form.quoted and kind not in (Secret, v.OptionalSecret, v.KeySource):
                for value in cases.values():
                    self.assertEqual(form.parse(form.write(value)), value)

    def test_durations_are_written_as_people_do(self) -> None:
        for text in ("0s", "250ms", "30s", "60s", "90s", "5m", "1h", "7d", "1500ms"):
            self.assertEqual(write_seconds(seconds(text)), text)

    def test_sizes_are_written_as_people_do(self) -> None:
        for text in ("0B", "1B", "1025B", "64KiB", "10MiB", "1GiB", "2TiB"):
            self.assertEqual(write_size(size(text)), text)

    @given(st.sampled_from(list(FORMS)), st.text())
    def test_any_text_is_taken_or_unfit(self, kind: Any, text: str) -> None:
        try:
            FORMS[kind].parse(text)
        except Unfit:
            pass
