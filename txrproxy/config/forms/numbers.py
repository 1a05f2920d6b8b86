"""Forms of numbers, and of what is one with a unit: durations, sizes, rates, statuses."""

from __future__ import annotations

import re

from txrproxy.config.forms.basics import MOST, Unfit, between, text
from txrproxy.config.values import (
    AddressBits,
    Natural,
    Positive,
    Rate,
    RedirectHttps,
    Seconds,
    Share,
    Size,
    Status,
    Statuses,
    Timeout,
    Workers,
)

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATES = {"s": 1, "m": 60, "h": 3600}
_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_LONGEST = 3650 * 86400.0
_NUMBER = r"([0-9]{1,12}(?:\.[0-9]{1,6})?)"
_SECONDS = re.compile(rf"{_NUMBER}(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB|TiB)")
_RATE = re.compile(r"([0-9]{1,9})/(s|m|h)")
_STATUSES = re.compile(r"[1-5][0-9]{2}(?:-[1-5][0-9]{2})?")


def natural(value: object) -> Natural:
    return Natural(between(value, 0, MOST))


def positive(value: object) -> Positive:
    return Positive(between(value, 1, MOST))


def status(value: object) -> Status:
    return Status(between(value, 200, 599))


def share(value: object) -> Share:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Unfit
    return Share(float(value))


def seconds(value: object) -> Seconds:
    """A duration: ``250ms``, ``30s``, ``5m``, ``1h``, ``7d``."""
    found = _SECONDS.fullmatch(text(value))
    if not found:
        raise Unfit
    duration = float(found[1]) * _UNITS[found[2]]
    if duration > _LONGEST:
        raise Unfit("it is longer than ten years")
    return Seconds(duration)


def timeout(value: object) -> Timeout:
    """A duration that is not zero."""
    duration = seconds(value)
    if not duration:
        raise Unfit("zero is no time at all")
    return Timeout(duration)


def write_seconds(value: float) -> str:
    """The shortest familiar spelling; whole minutes only from two on, as people write them."""
    if value % 1:
        return f"{value * 1000:g}ms"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 120)):
        if value and value >= size and value % _UNITS[unit] == 0:
            return f"{value / _UNITS[unit]:g}{unit}"
    return f"{value:g}s"


def size(value: object) -> Size:
    """A size in bytes: ``64KiB``, ``10MiB``, ``1GiB``."""
    found = _SIZE.fullmatch(text(value))
    if not found:
        raise Unfit
    number = int(found[1]) * _SIZES[found[2]]
    if number > MOST:
        raise Unfit("it is beyond any disk")
    return Size(number)


def write_size(value: int) -> str:
    unit = next(u for u in reversed(_SIZES) if u == "B" or (value and value % _SIZES[u] == 0))
    return f"{value // _SIZES[unit]}{unit}"


def rate(value: object) -> Rate:
    """Events in a time: ``50/s``, ``600/m``, ``1000/h``."""
    found = _RATE.fullmatch(text(value))
    if not found or int(found[1]) == 0:
        raise Unfit
    return Rate(int(found[1]), _RATES[found[2]])


def address_bits(value: object) -> AddressBits:
    return AddressBits(between(value, 32, 128))


def statuses(value: object) -> Statuses:
    """``200-399``, ``200`` or a list of those with commas."""
    ranges = []
    for part in text(value).split(","):
        if not _STATUSES.fullmatch(part.strip()):
            raise Unfit
        low, _, high = part.strip().partition("-")
        if int(high or low) < int(low):
            raise Unfit("a range goes from low to high")
        ranges.append((int(low), int(high or low)))
    return Statuses(tuple(ranges))


def workers(value: object) -> Workers:
    return "auto" if value == "auto" else between(value, 0, 1024)


def redirect_https(value: object) -> RedirectHttps:
    return value if isinstance(value, bool) else between(value, 1, 65535)
