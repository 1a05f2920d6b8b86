"""How each type of configuration value is written: the one table, :data:`FORMS`.

A row says what a person may write (in the words that errors and the manual use), how it is parsed,
and how it is written back. A parser takes whatever TOML yielded and raises :class:`Unfit` when
that is not the form; the text of the exception adds what the form alone does not say ("host bits
are set").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from txrproxy.config.forms import addresses, basics, numbers, words
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


@frozen
class Form:
    """How one type of value is written.

    ``expected`` ends the sentence "found X, expected ...". ``write`` gives the text between the
    quotes where that is not the value itself. ``quoted``: TOML has it as a string.
    """

    kind: str
    expected: str
    parse: Callable[[object], Any]
    write: Callable[[Any], str] = str
    quoted: bool = True


FORMS: dict[Any, Form] = {
    str: Form("string", "a string", basics.text),
    bool: Form("boolean", "true or false", basics.boolean, quoted=False),
    int: Form("integer", "an integer", basics.integer, quoted=False),
    Seconds: Form(
        "duration", 'a duration such as "250ms", "2s", "5m"', numbers.seconds, numbers.write_seconds
    ),
    Timeout: Form(
        "duration > 0",
        'a duration such as "250ms", "2s", "5m"',
        numbers.timeout,
        numbers.write_seconds,
    ),
    Size: Form("size", 'a size such as "64KiB", "10MiB", "1GiB"', numbers.size, numbers.write_size),
    Rate: Form("rate", 'a rate such as "50/s", "600/m"', numbers.rate),
    Share: Form("number 0 to 1", "a number from 0 to 1", numbers.share, quoted=False),
    Natural: Form("integer >= 0", "an integer, 0 or more", numbers.natural, quoted=False),
    Positive: Form("integer >= 1", "an integer, 1 or more", numbers.positive, quoted=False),
    Status: Form("status 200-599", "a status from 200 to 599", numbers.status, quoted=False),
    Name: Form(
        "name",
        "a name of 1 to 100 printable characters without quotes, braces or backslash",
        words.name,
    ),
    Text: Form("string", "a string that is not empty", basics.full_text),
    FilePath: Form("path", "a path", words.file_path),
    OptionalPath: Form("path or empty", 'a path, or ""', words.optional_path),
    OptionalSecret: Form(
        "secret or empty",
        'a reference such as "file:/run/secrets/token" or "env:TOKEN", or ""',
        words.optional_secret,
    ),
    tuple[str, str]: Form(
        "two strings",
        "a list of two strings: a pattern and its replacement",
        words.pair,
        quoted=False,
    ),
    Fingerprint: Form(
        "SHA-256 fingerprint", "a SHA-256 fingerprint: 64 hexadecimal digits", words.fingerprint
    ),
    FieldName: Form("header name", 'a header name such as "x-frame-options"', words.field_name),
    FieldValue: Form("header value", "a header value on one line", words.field_value),
    Method: Form("method", 'a method such as "GET"', words.method),
    HostPattern: Form(
        "host pattern", 'a host such as "example.com" or "*.example.com"', addresses.host_pattern
    ),
    PathPattern: Form(
        "path pattern",
        'a path such as "/login", or a prefix such as "/static/*"',
        words.path_pattern,
    ),
    Regex: Form("regular expression (RE2)", "a regular expression (RE2)", words.regex),
    HttpUrl: Form("URL", "a URL with http:// or https://", addresses.http_url),
    RedirectTarget: Form(
        "URL with placeholders",
        'a URL such as "https://example.com/new/{path}", or a path',
        words.redirect_target,
    ),
    ResourceName: Form(
        '"module:object"', 'a name such as "package.module:object"', words.resource_name
    ),
    UpstreamHost: Form(
        '"preserve", "backend" or a host',
        '"preserve", "backend" or a host',
        addresses.upstream_host,
    ),
    HostField: Form("host", 'a host, perhaps with a port, or ""', addresses.host_field),
    RequestTarget: Form("path", 'a path such as "/healthz" or "/up?full=1"', words.request_target),
    CacheKeyPart: Form(
        "part of a cache key",
        '"scheme", "host", "path", "query", "header:NAME" or "cookie:NAME"',
        words.cache_key_part,
    ),
    Cidr: Form("network", 'a network such as "10.0.0.0/8" or "2001:db8::/32"', addresses.cidr),
    Workers: Form(
        '"auto" or integer', '"auto", or an integer from 0 to 1024', numbers.workers, quoted=False
    ),
    RuleSelector: Form(
        "rule id, range or tag",
        'the id of a rule, a range such as "942100-942190", or a tag such as "attack-sqli"',
        words.rule_selector,
        quoted=False,
    ),
    RedirectHttps: Form(
        "boolean or port", "true, false or a port", numbers.redirect_https, quoted=False
    ),
    Secret: Form(
        "secret", 'a reference such as "file:/run/secrets/token" or "env:TOKEN"', words.secret
    ),
    Bind: Form("address", '"host:port", "[v6]:port", "unix:PATH" or "fd:NAME"', addresses.bind),
    BackendUrl: Form(
        "backend URL",
        '"http://host:port", "https://host:port" or "unix:/path"',
        addresses.backend_url,
    ),
    NameServer: Form(
        "name server", 'an address such as "10.0.0.2" or "[::1]:53"', addresses.name_server
    ),
    RequestKey: Form(
        "key",
        '"client_ip", "path", "uri", "header:NAME" or "cookie:NAME"',
        words.request_key,
    ),
    LimitKey: Form(
        "key",
        '"client_ip", "route", "path", "uri", "header:NAME", "cookie:NAME", or several with "+"',
        words.limit_key,
    ),
    AddressBits: Form(
        "integer 32-128", "an integer from 32 to 128", numbers.address_bits, quoted=False
    ),
    KeySource: Form(
        "file or URL",
        'a reference such as "file:jwks.json" or "env:JWKS", or a URL with http:// or https://',
        words.key_source,
    ),
    Place: Form(
        "place",
        'a country such as "CH" (ISO 3166), an autonomous system such as "AS64500", or "unknown"',
        words.place,
    ),
    TokenPlace: Form('"bearer" or "cookie:NAME"', '"bearer" or "cookie:NAME"', words.token_place),
    CorsOrigin: Form(
        "origin",
        'an origin such as "https://app.example" or "https://*.example.com", or "*"',
        addresses.cors_origin,
    ),
    Statuses: Form("statuses", 'statuses such as "200-399" or "200,204"', numbers.statuses),
}
