"""Features that a file may name and this version does not have yet.

Their keys are parsed and checked like all others, so that a file can be written for them, and then
refused where they are used: a file never means less than it says. A key that is written out with
its default is no use of it.

To make a feature available, delete its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
from attrs import frozen

from txrproxy.config.problems import Finding, KeyPath
from txrproxy.config.schema import Config


@frozen
class Later:
    """A use of ``key`` that is refused: where ``when`` says so, else any value but the default.

    ``*`` in a key stands for any name, or any place in a list. ``what`` says which use it is, for
    the manual and for the error.
    """

    key: str
    what: str = ""
    when: Callable[[Any], bool] | None = None


NOT_YET = (Later("admin"),)

_NO_DEFAULT = object()


def refusals(config: Config) -> Iterator[Finding]:
    """Every use of a feature that is not available yet."""
    for row in NOT_YET:
        for path, value, default in _find(config, tuple(row.key.split("."))):
            if row.when(value) if row.when else value != default:
                what = f"{row.what} is " if row.what else ""
                yield Finding(path, f"{what}not available yet in this version")


def _find(
    value: Any, keys: tuple[str, ...], path: KeyPath = (), default: object = _NO_DEFAULT
) -> Iterator[tuple[KeyPath, Any, object]]:
    if not keys:
        yield path, value, default
    elif keys[0] == "*":
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            yield from _find(item, keys[1:], (*path, name))
    else:
        field = attrs.fields_dict(type(value))[keys[0]]
        yield from _find(getattr(value, keys[0]), keys[1:], (*path, keys[0]), default_of(field))


def default_of(field: attrs.Attribute[Any]) -> Any:
    """The value a key has when it is not written; ``attrs.NOTHING`` when it must be."""
    default = field.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type, union-attr]
