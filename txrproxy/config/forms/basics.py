"""What every form is made of: whatever TOML yielded in, a value out, or :class:`Unfit`."""

from __future__ import annotations

import re

from txrproxy.config.values import Text

MOST = 1 << 53
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Unfit(ValueError):
    """A value is not of the form its key takes; ``str()`` says why where the form does not."""


def text(value: object) -> str:
    """Any string at all."""
    if not isinstance(value, str):
        raise Unfit
    return value


def integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unfit
    return value


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unfit
    return value


def between(value: object, low: int, high: int) -> int:
    number = integer(value)
    if not low <= number <= high:
        raise Unfit
    return number


def full_text(value: object) -> Text:
    if not text(value):
        raise Unfit("the string is empty")
    return Text(text(value))
