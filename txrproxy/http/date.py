"""HTTP dates (RFC 9110 section 5.6.7): the Date field, made once a second; reading one."""

from __future__ import annotations

import re
from email.utils import formatdate

_last = (-1, b"")

_MONTHS = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov")
_MONTH = {name: number for number, name in enumerate((*_MONTHS, b"dec"), 1)}
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_YEAR = 365.2425 * 86400  # seconds, on average

_month = rb"(?P<month>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_time = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
# The three forms; their case does not matter, since RFC 9111 section 4.2 asks for that.
_FORMS = (
    re.compile(
        rb"(?:mon|tue|wed|thu|fri|sat|sun), (?P<day>[0-9]{2}) "
        + _month
        + rb" (?P<year>[0-9]{4}) "
        + _time
        + rb" gmt"
    ),
    re.compile(
        rb"(?:mon|tues|wednes|thurs|fri|satur|sun)day, (?P<day>[0-9]{2})-"
        + _month
        + rb"-(?P<year>[0-9]{2}) "
        + _time
        + rb" gmt"
    ),
    re.compile(
        rb"(?:mon|tue|wed|thu|fri|sat|sun) "
        + _month
        + rb" (?P<day>[ 0-9][0-9]) "
        + _time
        + rb" (?P<year>[0-9]{4})"
    ),
)


def http_date_line(seconds: float) -> bytes:
    """``Date: ...`` with its CRLF, for a time in unix seconds."""
    global _last  # a memo of one
    second = int(seconds)
    if _last[0] != second:
        _last = second, b"Date: %b\r\n" % formatdate(second, usegmt=True).encode("ascii")
    return _last[1]


def parse_http_date(value: bytes, now: float) -> int | None:
    """Unix seconds of a date in one of the three forms, None for anything else.

    ``now`` settles the century of a year with two digits: such a date is less than 50 years ahead.
    Another zone than GMT makes a date invalid. A year has any four digits; there is no overflow.
    """
    value = value.lower()
    for form in _FORMS:
        match = form.fullmatch(value)
        if match is not None:
            break
    else:
        return None
    month, day = _MONTH[match["month"]], int(match["day"])
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"])
    if hour > 23 or minute > 59 or second > 60:  # 60: a leap second
        return None
    year = int(match["year"])
    of_day = hour * 3600 + minute * 60 + second
    if len(match["year"]) == 2:
        year += (int(1970 + now / _YEAR) // 100 + 1) * 100
        while _days(year, month, day) * 86400 + of_day > now + 50 * _YEAR:
            year -= 100
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= day <= _DAYS[month - 1] + leap:
        return None
    return _days(year, month, day) * 86400 + of_day


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 of the Gregorian calendar; the year is counted from March."""
    year, month = (year - 1, month + 9) if month < 3 else (year, month - 3)
    return (
        year * 365 + year // 4 - year // 100 + year // 400 + (month * 153 + 2) // 5 + day - 719469
    )
