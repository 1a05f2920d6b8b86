from __future__ import annotations

from ipaddress import ip_network

from tests.config.forms.cases import Cases, Refused, Taken
from txrproxy.config import values as v
from txrproxy.config.values import BackendUrl, Bind, NameServer

TAKEN: Taken = {
    v.HostPattern: {
        "Example.COM": "example.com",
        "*.Example.com": "*.example.com",
        "127.0.0.1": "127.0.0.1",
        "[::0001]": "[::1]",
        "my_service": "my_service",
    },
    v.HttpUrl: {"https://user:pw@example.com:8/x?y": "https://user:pw@example.com:8/x?y"},
    v.UpstreamHost: {
        host: host
        for host in ("preserve", "backend", "a.example", "a.example:81", "[::1]", "[::1]:81")
    },
    v.HostField: {host: host for host in ("", "a.example", "a.example:81", "[::1]", "[::1]:81")},
    v.Cidr: {
        "10.0.0.0/8": ip_network("10.0.0.0/8"),
        "192.0.2.7": ip_network("192.0.2.7/32"),
        "2001:db8::/32": ip_network("2001:db8::/32"),
    },
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
    v.CorsOrigin: {
        "*": "*",
        "https://App.example": "https://app.example",
        "https://*.example.com:8443": "https://*.example.com:8443",
        "http://[::1]:81": "http://[::1]:81",
        "app+x://localhost": "app+x://localhost",
    },
}

REFUSED: Refused = {
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
    v.HttpUrl: {
        "ftp://a/": "",
        "http:///x": "the host is neither an address nor a name",
        "http://[::1/": "",
        "http://a\n/": "white space and control characters have no place in it",
    },
    v.UpstreamHost: {
        "a b": "the host is neither an address nor a name",
        "a:99999": "the port is not a number up to 65535",
    },
    v.HostField: {
        "a b": "the host is neither an address nor a name",
        "a\r\nb: c": "the host is neither an address nor a name",
        "a:99999": "the port is not a number up to 65535",
    },
    v.Cidr: {
        "10.0.0.1/8": 'host bits are set; the network is "10.0.0.0/8"',
        "10.0.0.0/33": "",
        "fe80::1%eth0": "a scope is not part of a network",
    },
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
    v.CorsOrigin: {
        "app.example": "",
        "1://a": "",
        "https://app.example/": "an origin is a scheme, a host and a port, nothing more",
        "https://a.*.b": "an origin is a scheme, a host and a port, nothing more",
        "https://app.example:443": "browsers leave the default port out",
        "http://a:80": "browsers leave the default port out",
    },
}


class AddressesTests(Cases):
    taken = TAKEN
    refused = REFUSED
