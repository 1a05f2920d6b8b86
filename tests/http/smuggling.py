"""Requests that two parties might read in two ways: the table, as data.

``HEADS`` are refused by their head alone: nothing may reach an origin. ``BODIES`` begin well, so
that the head may have gone on when the body breaks; what must not happen is a second request.
``HARMLESS`` are taken, and go on in one reading only. A case is (what it tries, bytes, the name of
its reason); behind each, the tests put :data:`SMUGGLED`.

The names are those of the trade: CL.TE and TE.CL for two lengths, TE.TE for a coding that one of
two parties does not recognise, TERM.EXT, EXT.TERM and TERM.SPILL for line ends in chunk extensions
that one takes for an end and the other for text.
"""

from __future__ import annotations

from collections.abc import Iterator

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

Case = tuple[str, bytes, str]


def _lines(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _post(*fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return _lines(b"POST / HTTP/" + version, b"Host: a", *fields, body=body)


CL, TE, CHUNKED = b"Content-Length: ", b"Transfer-Encoding: ", b"Transfer-Encoding: chunked"
LAST = b"0\r\n\r\n"


def _lengths() -> Iterator[Case]:
    """Content-Length."""
    both = "length_and_encoding"
    yield "CL.TE", _post(CL + b"5", CHUNKED, body=LAST), both
    yield "TE.CL", _post(CHUNKED, CL + b"5", body=LAST), both
    yield "CL.TE with no length", _post(CL + b"0", CHUNKED, body=LAST), both
    yield "CL.TE, coding unknown", _post(CL + b"5", TE + b"x", body=b"hello"), both
    yield "CL.TE, coding identity", _post(CL + b"5", TE + b"identity", body=b"hello"), both
    yield "CL.TE, coding empty", _post(CL + b"5", TE, body=b"hello"), both
    yield "CL.TE on HTTP/1.0", _post(CL + b"5", CHUNKED, body=LAST, version=b"1.0"), both
    yield (
        "CL.TE, listed in Connection",
        _post(CL + b"5", CHUNKED, b"Connection: content-length"),
        both,
    )
    bad = "bad_content_length"
    yield "CL.CL", _post(CL + b"5", CL + b"6", body=b"hello!"), bad
    yield "CL.CL equal", _post(CL + b"5", CL + b"5", body=b"hello"), bad
    yield "CL.CL in other case", _post(CL + b"5", b"content-LENGTH: 0", body=b"hello"), bad
    yield "CL.CL, one empty", _post(CL + b"5", CL, body=b"hello"), bad
    yield "CL.CL.TE", _post(CL + b"5", CL + b"5", CHUNKED, body=LAST), bad
    for value in (
        b"5, 6",
        b"5, 5",
        b"5,",
        b",5",
        b"5;6",
        b"5 6",
        b"5 5",
        b"+2",
        b"-1",
        b"-0",
        b"0x2",
        b"0X2",
        b"0b1",
        b"0o7",
        b"2h",
        b"2_0",
        b"1e1",
        b"2.0",
        b".5",
        b'"5"',
        b"'5'",
        b"(5)",
        b"\xef\xbc\x92",  # full-width 2
        b"\xd9\xa2",  # Arabic-Indic 2
        b"\xb2",  # superscript 2 in Latin-1
        b"5\xa0",
        b"\xc2\xa05",
        b"",
        b"9" * 19,
        b"1" + b"0" * 40,
        b"18446744073709551616",
        b"18446744073709551621",  # 5 in 64 bits
        b"4294967301 ",  # 5 in 32 bits: taken for what it is, below
        b"five",
        b"NaN",
        b"null",
        b"true",
    ):
        if value.strip() != b"4294967301":
            yield f"CL {value!r}", _post(CL + value, body=b"hello"), bad
    for value in (
        b"5\x0b",
        b"5\x0c",
        b"\x0b5",
        b"\x005",
        b"5\x00",
        b"5\x85".replace(b"\x85", b"\x7f"),
    ):
        yield f"CL {value!r}", _post(CL + value, body=b"hello"), "bad_field"


def _codings() -> Iterator[Case]:
    """Transfer-Encoding: TE.TE and TE.0."""
    bad = "bad_transfer_encoding"
    for value in (
        b"",
        b",",
        b"identity",
        b"chunked, identity",
        b"identity, chunked",
        b"chunked,",
        b",chunked",
        b"chunked, chunked",
        b"chunked,chunked",
        b"chunked; q=1",
        b"chunked;q=1",
        b"chunked;",
        b"chunked;x",
        b"xchunked",
        b"chunkedx",
        b"x-chunked",
        b"chunke",
        b"chun ked",
        b"chunked chunked",
        b"chunked foo",
        b'"chunked"',
        b"'chunked'",
        b"<chunked>",
        b"chunked\xa0",
        b"\xa0chunked",
        b"chunked\x85",
        b"\xef\xbd\x83hunked",
        b"c\xcc\xa7hunked",
        b"\xff\xfechunked",
        b"cow, chunked",
        b"deflate",
        b"gzip;q=1, chunked",
        b"[object Object]",
        b"chunked: chunked",
        b": chunked",
    ):
        yield f"TE {value!r}", _post(TE + value, body=LAST), bad
    yield "TE.TE", _post(CHUNKED, CHUNKED, body=LAST), bad
    yield "TE.TE identity last", _post(CHUNKED, TE + b"identity", body=LAST), bad
    yield "TE.TE identity first", _post(TE + b"identity", CHUNKED, body=LAST), bad
    yield "TE.TE other case", _post(CHUNKED, b"transfer-ENCODING: x", body=LAST), bad
    yield "TE.TE gzip first", _post(TE + b"gzip", CHUNKED, body=LAST), bad
    yield "TE on HTTP/1.0", _post(CHUNKED, body=LAST, version=b"1.0"), bad
    keep = b"Connection: keep-alive"
    yield "TE on HTTP/1.0, kept", _post(CHUNKED, keep, body=LAST, version=b"1.0"), bad
    yield "TE gzip, chunked", _post(TE + b"gzip, chunked", body=LAST), "coding_unsupported"
    yield "TE deflate,chunked", _post(TE + b"deflate,chunked", body=LAST), "coding_unsupported"
    field = "bad_field"
    for value in (
        b"\x0bchunked",
        b"\x0cchunked",
        b"chunked\x0b",
        b"chunked\x00",
        b"\x00chunked",
        b"chunked\x7f",
        b"chunked\x1f",
        b"\x08chunked",
    ):
        yield f"TE {value!r}", _post(TE + value, body=LAST), field
    for name in (
        b"Transfer-Encoding ",
        b"Transfer-Encoding\t",
        b"Transfer-Encoding\x0b",
        b"Transfer-Encoding\x0c",
        b"Transfer-Encoding\x00",
        b"Transfer-Encoding\xa0",
        b"Transfer\x00-Encoding",
        b"Transfer Encoding",
        b"\x00Transfer-Encoding",
        b"\x0bTransfer-Encoding",
        b"\xefTransfer-Encoding",
        b'"Transfer-Encoding"',
        b"Transfer-Encoding/",
        b"Transfer-Encoding(x)",
        b"Transfer-Encoding, X",
        b"Transfer-Encod\xc4\xb1ng",  # a dotless i
    ):
        yield f"TE name {name!r}", _post(CL + b"5", name + b": chunked", body=LAST), field
    yield "CL name with a space", _post(b"Content-Length : 5", CHUNKED, body=LAST), field
    yield "CL name with a tab", _post(b"Content-Length\t: 5", body=b"hello"), field
    yield "folded: TE on the next line", _post(b"Transfer-Encoding:", b" chunked", body=LAST), field
    yield "folded: TE in two", _post(TE + b"chunked,", b"\tidentity", body=LAST), field
    yield "folded: behind another", _post(b"X: y", b" " + CHUNKED, body=LAST), field
    yield "folded: behind another, by a tab", _post(b"X: y", b"\t" + CHUNKED, body=LAST), field
    yield "folded: CL", _post(b"Content-Length:", b" 5", body=b"hello"), field
    yield "folded: first field", _lines(b"POST / HTTP/1.1", b" Host: a"), field
    yield "folded: an empty line of spaces", _post(CL + b"5", b" ", CHUNKED, body=LAST), field


def _line_ends() -> Iterator[Case]:
    """CR, LF and NUL where CRLF belongs, or where nothing does."""
    line, field = "bad_request_line", "bad_field"
    yield "LF everywhere", b"POST / HTTP/1.1\nHost: a\nContent-Length: 0\n\n", line
    yield "LF after the request line", b"POST / HTTP/1.1\nHost: a\r\n\r\n", line
    yield "CR after the request line", b"POST / HTTP/1.1\rHost: a\r\n\r\n", line
    yield "CRCRLF after the request line", b"POST / HTTP/1.1\r\r\nHost: a\r\n\r\n", line
    yield "LF in the target", b"GET /\nX HTTP/1.1\r\nHost: a\r\n\r\n", line
    yield "CR in the target", b"GET /\rX HTTP/1.1\r\nHost: a\r\n\r\n", line
    yield "CR before the method", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", line
    yield "LF before the method", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", line
    yield "LFCR", b"GET / HTTP/1.1\n\rHost: a\n\r\n\r", line
    yield (
        "LF after Host",
        b"POST / HTTP/1.1\r\nHost: a\nTransfer-Encoding: chunked\r\n\r\n" + LAST,
        field,
    )
    yield "LF in a value", _post(b"X: y\n" + CHUNKED, body=LAST), field
    yield "CR in a value", _post(b"X: y\r" + CHUNKED, body=LAST), field
    yield "CR before a name", _post(b"\r" + CHUNKED, CL + b"5", body=LAST), field
    yield "CRCRLF after a field", _post(CHUNKED + b"\r", CL + b"5", body=LAST), field
    yield "LFLF for the end", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\n\nhello", field
    yield "CRLFLF for the end", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\nhello", field
    yield "LFCRLF for the end", b"POST / HTTP/1.1\r\nHost: a\n\r\n", field
    yield "CRCRLF for the end", b"POST / HTTP/1.1\r\nHost: a\r\n\r\r\n", field
    yield "CRCR for the end", b"POST / HTTP/1.1\r\nHost: a\r\rhello\r\n\r\n", field
    for code in (0x00, 0x01, 0x08, 0x0B, 0x0C, 0x0E, 0x1B, 0x1F, 0x7F):
        yield f"{code:#x} in a value", _post(b"X: y%cz" % code), field
        yield f"{code:#x} in a name", _post(b"X%cY: z" % code), field
    for code in (0x80, 0x85, 0xA0, 0xFF, 0x20, 0x22, 0x28, 0x2C, 0x2F, 0x40, 0x5B, 0x7B):
        yield f"{code:#x} in a name", _post(b"X%cY: z" % code), field
    yield "no colon", _post(b"Transfer-Encoding chunked", body=LAST), field
    yield "no name", _post(b": chunked"), field
    yield "an equals sign", _post(b"Transfer-Encoding=chunked"), field
    yield "a request line among fields", _post(b"GET /smuggled HTTP/1.1", b"X: y"), field


def _request_lines() -> Iterator[Case]:
    line, version, field = "bad_request_line", "bad_version", "bad_field"
    host = b"Host: a"
    for text in (
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET\t/\tHTTP/1.1",
        b"GET / HTTP/1.1 HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET / HTTP /1.1",
        b"GET /",
        b"GET",
        b"GET / HTTP/1.1\tX",
    ):
        reason = version if text.endswith(b"\tX") else line
        yield f"line {text!r}", _lines(text, host), reason
    yield "a space before the method", _lines(b" GET / HTTP/1.1", host), line
    yield "a tab before the method", _lines(b"\tGET / HTTP/1.1", host), line
    yield "NUL before the method", _lines(b"\x00GET / HTTP/1.1", host), line
    yield "a space after empty lines", b"\r\n\r\n" + _lines(b" GET / HTTP/1.1", host), line
    yield "a byte order mark", _lines(b"\xef\xbb\xbfGET / HTTP/1.1", host), line
    yield "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32), line
    yield "SSH", _lines(b"SSH-2.0-OpenSSH_9.2"), line
    yield "PROXY protocol", _lines(b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2", b"GET / HTTP/1.1", host), line
    yield "PROXY protocol, binary", b"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c" + bytes(12), line
    for text in (
        b"http/1.1",
        b"Http/1.1",
        b"HTTP/1",
        b"HTTP/1.",
        b"HTTP/11",
        b"HTTP/1.1x",
        b"HTTP/1.10",
        b"HTTP/01.1",
        b"HTTP/1,1",
        b"HTTP/+1.1",
        b"HTTP/1.1;",
        b"HTTPS/1.1",
        b"HTTP\\1.1",
        b"HTTP/1.\xb9",
        b"ICY/1.1",
        b"RTSP/1.0",
        b"HTTP/1.1\x00",
        b"HTTP/1.1\x0b",
    ):
        yield f"version {text!r}", _lines(b"GET / " + text, host), version
    for text in (b"HTTP/2.0", b"HTTP/3.0", b"HTTP/0.9", b"HTTP/9.9", b"HTTP/0.0"):
        yield f"version {text!r}", _lines(b"GET / " + text, host), "version_unsupported"
    yield "HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version_unsupported"
    for method in (
        b"G@T",
        b"GET:",
        b"G\x7fT",
        b"G(T",
        b'"GET"',
        b"G\xc3\x89T",
        b"GE\x00T",
        b"G\x0bET",
        b"{GET}",
        b"G" * 65,
    ):
        reason = "bad_request_line" if method[:1] in (b'"', b"{") else "bad_method"
        yield f"method {method!r}", _lines(method + b" / HTTP/1.1", host), reason
    target = "bad_target"
    for text in (
        b"*",
        b"a",
        b"a/b",
        b"?x",
        b"/#x",
        b"/a#",
        b"/a?b#c",
        b"/%",
        b"/%2",
        b"/%zz",
        b"/%00",
        b"/\x00",
        b"/\x7f",
        b"/\x0b",
        b"/\t",
        b"/\xe9",
        b"/a\xc3\xa9",
        b"/?\xe9",
        b"/?a\x00",
        b"http:",
        b"http:/a/",
        b"http:///",
        b"http:///a",
        b"http://a b/",
        b"http://u@a/",
        b"http://u:p@a/",
        b"http://a:x/",
        b"http://a:99999/",
        b"http://a..b/",
        b"http://[::1/",
        b"http://a\\@b/",
        b"http://a%20b/",
        b"http://a/#x",
        b"https:a",
        b"ftp://a/",
        b"file:///etc/passwd",
        b"javascript:alert(1)",
        b"a:80",
        b"\\\\a\\b",
    ):
        expected = line if b" " in text else target
        yield f"target {text!r}", _lines(b"GET " + text + b" HTTP/1.1", host), expected
    for text in (
        b"/../x",
        b"/a/../../x",
        b"/%2e%2e/x",
        b"/..%2fx",
        b"/..;/x",
        b"/a\\..\\..\\x",
        b"/..%5cx",
        b"/./../x",
        b"//../x",
    ):
        reason = target if b"\\" in text else "target_above_root"
        if not text.startswith(b"/a\\"):
            yield f"target {text!r}", _lines(b"GET " + text + b" HTTP/1.1", host), reason
    yield "target too long", _lines(b"GET /" + b"a" * 17000 + b" HTTP/1.1", host), "target_too_long"
    yield "CONNECT with a path", _lines(b"CONNECT / HTTP/1.1", host), target
    yield "CONNECT without a port", _lines(b"CONNECT a HTTP/1.1", host), target
    yield "CONNECT with a URL", _lines(b"CONNECT http://a/ HTTP/1.1", host), target
    yield "CONNECT *", _lines(b"CONNECT * HTTP/1.1", host), target
    yield "CONNECT", _lines(b"CONNECT a:443 HTTP/1.1", host), "method_not_allowed"
    yield (
        "CONNECT with a body",
        _lines(b"CONNECT a:443 HTTP/1.1", host, CL + b"5", body=b"hello"),
        "method_not_allowed",
    )
    yield "TRACE", _lines(b"TRACE / HTTP/1.1", host), "method_not_allowed"
    yield "head too large", _lines(b"GET / HTTP/1.1", host, b"X: " + b"y" * 40000), "head_too_large"
    yield "too many fields", _lines(b"GET / HTTP/1.1", host, *[b"X: y"] * 128), "too_many_fields"
    expect = "bad_expectation"
    for value in (b"", b"x", b"100-continue, x", b"y 100-continue", b"100-continue=1", b"200-ok"):
        yield f"Expect {value!r}", _post(CL + b"5", b"Expect: " + value, body=b"hello"), expect
    yield "Expect twice", _post(CL + b"5", *[b"Expect: 100-continue"] * 2, body=b"hello"), expect
    yield "Expect, folded", _post(CL + b"5", b"Expect:", b" 100-continue", body=b"hello"), field


def _hosts() -> Iterator[Case]:
    bad, mismatch = "bad_host", "host_mismatch"
    yield "no Host", _lines(b"GET / HTTP/1.1", b"X: y"), bad
    yield "no field at all", _lines(b"GET / HTTP/1.1"), bad
    yield "no Host, absolute target", _lines(b"GET http://a/ HTTP/1.1", b"X: y"), bad
    yield "two Hosts", _lines(b"GET / HTTP/1.1", b"Host: a", b"Host: b"), bad
    yield "two equal Hosts", _lines(b"GET / HTTP/1.1", b"Host: a", b"host: a"), bad
    yield "two Hosts, one empty", _lines(b"GET / HTTP/1.1", b"Host:", b"Host: a"), bad
    yield "two Hosts on HTTP/1.0", _lines(b"GET / HTTP/1.0", b"Host: a", b"Host: b"), bad
    for value in (
        b"u@a",
        b"u:p@a",
        b"@a",
        b"a/",
        b"a/b",
        b"a b",
        b"a,b",
        b"a, b",
        b"a;b",
        b"a:",
        b"a:x",
        b"a:80x",
        b"a:+80",
        b"a:-1",
        b"a:65536",
        b"a:999999",
        b"a:80:80",
        b"a:80@b",
        b"a..b",
        b".a",
        b".",
        b":80",
        b"http://a",
        b"a?b",
        b"a#b",
        b"a\\b",
        b"a%2eb",
        b"a%00",
        b"\xe9",
        b"a\xc2\xa0",
        b"[::1",
        b"::1",
        b"[::1]x",
        b"[]",
        b"[1.2.3.4]",
        b"[::1%25eth0]",
        b'"a"',
        b"<a>",
        b"{a}",
        b"a|b",
        b"a^b",
        b"a`b",
        b"*",
        b"a" * 300,
    ):
        if value != b"a:":
            yield f"Host {value!r}", _lines(b"GET / HTTP/1.1", b"Host: " + value), bad
    for value in (b"b", b"a:443", b"a.", b"a.b", b"", b"[::1]"):
        yield (
            f"absolute, Host {value!r}",
            _lines(b"GET http://a/ HTTP/1.1", b"Host: " + value),
            mismatch,
        )
    yield "absolute, other port", _lines(b"GET http://a:81/ HTTP/1.1", b"Host: a:82"), mismatch
    yield "absolute on HTTP/1.0", _lines(b"GET http://a/ HTTP/1.0", b"Host: b"), mismatch
    yield "Host with a space before the colon", _lines(b"GET / HTTP/1.1", b"Host : a"), "bad_field"
    yield "Host hidden by a space", _lines(b"GET / HTTP/1.1", b"Host: a", b" Host: b"), "bad_field"
    yield "Host with a NUL", _lines(b"GET / HTTP/1.1", b"Host: a\x00b"), "bad_field"
    yield "Host with a tab", _lines(b"GET / HTTP/1.1", b"Host: a\tb"), bad


def _chunks() -> Iterator[Case]:
    """Bodies that break: the head was good."""
    bad = "bad_chunk"
    inner = b"GET /smuggled HTTP/1.1\r\nX: "
    for body in (
        b"0x5\r\nhello\r\n",
        b"0X5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"-1\r\nhello\r\n",
        b"-0\r\n\r\n",
        b"5 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5\t\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5_0\r\nhello\r\n",
        b"0_0\r\n\r\n",
        b"5,\r\nhello\r\n",
        b"5h\r\nhello\r\n",
        b"5:x\r\nhello\r\n",
        b'"5"\r\nhello\r\n',
        b"5.0\r\nhello\r\n",
        b"\xef\xbc\x95\r\nhello\r\n",
        b"\xb5\r\nhello\r\n",
        b"5\x00\r\nhello\r\n",
        b"5\x0b\r\nhello\r\n",
        b"5\x0c;a\r\nhello\r\n",
        b"00000000000000005\r\nhello\r\n",
        b"10000000000000005\r\nhello\r\n",
        b"fffffffffffffffff\r\nhello\r\n",
        b"\r\nhello\r\n",
        b"\r\n\r\n",
        b"\r0\r\n\r\n",
        b"\n0\r\n\r\n",
        b";a\r\nhello\r\n",
        b"5\nhello\n0\n\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\rhello\r\n",
        b"5\n\rhello\r\n",
        b"5\r\nhelloX0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n\n0\r\n\r\n",
        b"5\r\nhel\r\n0\r\n\r\nx\r\n",
        b"6\r\nhello\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"0\r\n\n",
        b"0\n\r\n",
        b"0\n\n",
        b"0\r\r\n",
        b"0\r\n\r\r\n",
        b"0 \r\n\r\n",
    ):
        yield f"chunk {body!r}", _post(CHUNKED, body=body), bad
    for extension in (
        b"\n",
        b";\n",
        b";a\n",
        b";a=\r",
        b";a\rb",
        b"\r;a",
        b";a\x00",
        b";\x0b",
        b";\x7f",
        b';a="\n"',
        b';a="\r\n"',
    ):
        if b"\r\n" not in extension:
            body = b"2" + extension + b"xx\r\n45\r\n0\r\n\r\n" + inner
            yield f"extension {extension!r}", _post(CHUNKED, body=body), bad
    yield "TERM.EXT", _post(CHUNKED, body=b"5;\nhello\r\n0\r\n\r\n"), bad
    yield "EXT.TERM", _post(CHUNKED, body=b"5;a\nb\r\nhello\r\n0\r\n\r\n"), bad
    yield "TERM.SPILL", _post(CHUNKED, body=b"5\r\nhello\n2\r\nxx\r\n0\r\n\r\n"), bad
    yield "ONE.TWO", _post(CHUNKED, body=b"5\r\nhelloZ\r\n0\r\n\r\n"), bad
    yield "ZERO.TWO", _post(CHUNKED, body=b"5\r\nhello2\r\nxx\r\n0\r\n\r\n"), bad
    yield "a huge extension", _post(CHUNKED, body=b"5;" + b"a" * 2000 + b"\r\nhello\r\n"), bad
    yield "huge white space", _post(CHUNKED, body=b"5" + b" " * 2000 + b";\r\nhello\r\n"), bad
    extensions = (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 20
    yield "many extensions", _post(CHUNKED, body=extensions), bad
    for trailer in (
        b"X : y",
        b" X: y",
        b"X: y\r\n z",
        b"no colon",
        b": y",
        b"X: \x00",
        b"X\x00: y",
        b"X: y\nZ: a",
        b"X: y\rZ: a",
        b"X: y\n",
        b"GET /smuggled HTTP/1.1",
        b"X: " + b"y" * 17000,
        b"\r\n".join([b"X: y"] * 65),
    ):
        yield (
            f"trailer {trailer[:20]!r}",
            _post(CHUNKED, body=b"0\r\n" + trailer + b"\r\n\r\n"),
            bad,
        )


HEADS: list[Case] = [
    *_lengths(),
    *_codings(),
    *_line_ends(),
    *_request_lines(),
    *_hosts(),
]
BODIES: list[Case] = list(_chunks())

# What it tries, bytes, what an origin must read: (method, target, body) each, and what no origin
# may see anywhere. SMUGGLED is not put behind these.
Harmless = tuple[str, bytes, list[tuple[bytes, bytes, bytes]], list[bytes]]

_POST = (b"POST", b"/", b"hello")
_GET = (b"GET", b"/", b"")
_five = b"5\r\nhello\r\n"

HARMLESS: list[Harmless] = [
    ("a length of zeros", _post(CL + b"00005", body=b"hello"), [_POST], [b"00005"]),
    ("a length in white space", _post(b"Content-Length:\t 5 \t", body=b"hello"), [_POST], []),
    ("chunked, other case", _post(TE + b"CHUNKED", body=_five + LAST), [_POST], [b"CHUNKED"]),
    (
        "a size of zeros",
        _post(CHUNKED, body=b"0000005\r\nhello\r\n00\r\n\r\n"),
        [_POST],
        [b"0000005"],
    ),
    ("an extension", _post(CHUNKED, body=b"5;a=b;c\r\nhello\r\n" + LAST), [_POST], [b"a=b"]),
    (
        "an extension on the last chunk",
        _post(CHUNKED, body=_five + b"0;GET /smuggled HTTP/1.1\r\n\r\n"),
        [_POST],
        [b"smuggled"],
    ),
    (
        "Content-Length in trailers",
        _post(CHUNKED, body=_five + b"0\r\nContent-Length: 50\r\nX-Sum: 1\r\n\r\n"),
        [_POST],
        [b"Content-Length"],
    ),
    (
        "Transfer-Encoding and Host in trailers",
        _post(CHUNKED, body=_five + b"0\r\nTransfer-Encoding: x\r\nHost: evil\r\n\r\n"),
        [_POST],
        [b"evil", b"Encoding: x"],
    ),
    (
        "aliases in trailers",
        _post(CHUNKED, body=_five + b"0\r\nContent_Length: 50\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n"),
        [_POST],
        [b"Content_Length", b"6.6.6.6"],
    ),
    (
        "a request in a body",
        _post(CL + b"%d" % len(SMUGGLED), body=SMUGGLED),
        [(b"POST", b"/", SMUGGLED)],
        [],
    ),
    (
        "a request in a chunk",
        _post(CHUNKED, body=b"%x\r\n%b\r\n%b" % (len(SMUGGLED), SMUGGLED, LAST)),
        [(b"POST", b"/", SMUGGLED)],
        [],
    ),
    (
        "a body on GET",
        _lines(b"GET / HTTP/1.1", b"Host: a", CL + b"5", body=b"hello"),
        [(b"GET", b"/", b"hello")],
        [],
    ),
    (
        "aliases of framing",
        _lines(b"GET / HTTP/1.1", b"Host: a", b"Content_Length: 5", b"Transfer_Encoding: chunked"),
        [_GET],
        [b"Content_Length", b"Transfer_Encoding", b"chunked"],
    ),
    (
        "aliases of ours",
        _lines(b"GET / HTTP/1.1", b"Host: a", b"X_Forwarded_For: 6.6.6.6", b"X-Real_IP: 6.6.6.6"),
        [_GET],
        [b"6.6.6.6"],
    ),
    (
        "claims of a proxy",
        _lines(
            b"GET / HTTP/1.1",
            b"Host: a",
            b"X-Forwarded-For: 6.6.6.6",
            b"Forwarded: for=6.6.6.6",
            b"X-Forwarded-Host: evil",
            b"Via: 1.1 evil",
        ),
        [_GET],
        [b"6.6.6.6", b"evil"],
    ),
    (
        "Connection lists what frames and routes",
        _post(
            CL + b"5", b"Connection: close, content-length, host, x-forwarded-for", body=b"hello"
        ),
        [_POST],
        [b"close"],
    ),
    ("an empty line first", b"\r\n" + _lines(b"GET / HTTP/1.1", b"Host: a"), [_GET], []),
    ("HTTP/1.2", _lines(b"GET / HTTP/1.2", b"Host: a"), [_GET], [b"1.2"]),
    (
        "an absolute target",
        _lines(b"GET http://a/x HTTP/1.1", b"Host: A"),
        [(b"GET", b"/x", b"")],
        [b"http://"],
    ),
    (
        "an upgrade to HTTP/2",
        _lines(
            b"GET / HTTP/1.1",
            b"Host: a",
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAAQAAP__",
        ),
        [_GET],
        [b"h2c", b"AAMAAABk", b"Upgrade"],
    ),
    (
        "pipelined",
        _post(CL + b"5", body=b"hello") + _lines(b"GET /next HTTP/1.1", b"Host: a"),
        [_POST, (b"GET", b"/next", b"")],
        [],
    ),
    ("a method of lower case", _lines(b"get / HTTP/1.1", b"Host: a"), [(b"get", b"/", b"")], []),
    (
        "a length of 33 bits",
        _post(CL + b"4294967301", body=b"hello" + SMUGGLED),
        [],  # never complete: it is a long body, and all of it is content
        [],
    ),
]
