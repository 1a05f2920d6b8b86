from __future__ import annotations

from tests.config.forms.cases import Cases, Refused, Taken
from txrproxy.config import values as v
from txrproxy.config.forms import FORMS
from txrproxy.config.forms.basics import Unfit
from txrproxy.config.values import LimitKey, RequestKey, Secret

TAKEN: Taken = {
    v.Name: {"main": "main", "blue green é": "blue green é"},
    v.FilePath: {"a/b": "a/b"},
    v.OptionalPath: {"": "", "a": "a"},
    v.OptionalSecret: {"": "", "env:A": Secret("env", "A")},
    v.Fingerprint: {"ab" * 32: "ab" * 32, ":".join(["0F"] * 32): "0f" * 32},
    v.FieldName: {"x-Frame_options": "x-Frame_options"},
    v.FieldValue: {"": "", "a\tb é": "a\tb é"},
    v.Method: {"GET": "GET", "PURGE": "PURGE", "purge": "purge"},
    v.PathPattern: {"/": "/", "/*": "/*", "/a%2F;b=c,d/..x*": "/a%2F;b=c,d/..x*"},
    v.Regex: {"^/a$": "^/a$"},
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
    v.RequestTarget: {t: t for t in ("/", "/healthz", "/up?full=1&deep=%20", "/a;b/../*")},
    v.CacheKeyPart: {k: k for k in ("scheme", "host", "path", "query", "header:X", "cookie:a")},
    v.RuleSelector: {
        942100: 942100,
        "942100-942190": "942100-942190",
        "9-10": "9-10",
        "attack-sqli": "attack-sqli",
    },
    Secret: {"file:a:b": Secret("file", "a:b"), "env:TOKEN": Secret("env", "TOKEN")},
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
    v.KeySource: {
        "file:jwks.json": Secret("file", "jwks.json"),
        "https://login.example/jwks": "https://login.example/jwks",
    },
    v.Place: {"CH": "CH", "AS": "AS", "AS64500": "AS64500", "unknown": "unknown"},
    v.TokenPlace: {"bearer": "bearer", "cookie:t": "cookie:t"},
}

REFUSED: Refused = {
    v.Name: {"": "", "a" * 101: "", "a\nb": "", 'a"b': "", "a{b": ""},
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
    v.RedirectTarget: {
        "": "",
        "example.com": "",
        "/a b": "",
        "/é": "",
        "/{pth}": "{pth} is unknown; there are {path}, {uri}, {query}, {host}, {scheme}",
        "/{path": "a brace is not closed",
    },
    v.ResourceName: {"a.b": "", "a:b:c": "", "a-b:c": "", ":c": "", "1a:b": ""},
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
    v.RuleSelector: {
        **dict.fromkeys((0, True, "942100", "a b", "-1", 'x"', "1-2-3"), ""),
        "20-10": "the range ends before it begins",
    },
    Secret: {"hunter2": "", "file:": "", "env": "", "http:x": "", "env:a\nb": ""},
    v.OptionalSecret: {"x": ""},
    v.OptionalPath: {"\0": ""},
    RequestKey: {"ip": "", "header:": "", "cookie:a b": ""},
    LimitKey: {"": "", "client_ip+": "", "ip": "", "path+path": "a part is there twice"},
    v.KeySource: {
        "jwks.json": "",
        "https://": "the host is neither an address nor a name",
    },
    v.Place: {"": "", "ch": "", "CHE": "", "AS01": "", "AS12345678901": "", "as1": "", "*": ""},
    v.TokenPlace: {"": "", "cookie:": "", "cookie": "", "bearer:x": "", "header:x": ""},
}


class WordsTests(Cases):
    taken = TAKEN
    refused = REFUSED

    def test_pair(self) -> None:
        form = FORMS[tuple[str, str]]
        self.assertEqual(form.parse(["a", "b"]), ("a", "b"))
        for value in (["a"], ["a", "b", "c"], ["a", 1], "ab"):
            self.assertRaises(Unfit, form.parse, value)
