"""Makes the schema's classes of what TOML yields, and findings of what does not fit.

cattrs does the walking. What is set up here is strictness (TOML's types are never converted into
each other) and the words: every value comes from a row of :data:`FORMS`, a list or a table, and
each of those says what it found and what it takes.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, make_mapping_structure_fn, override

from txrproxy.config.forms import FORMS, Form
from txrproxy.config.forms.basics import Unfit
from txrproxy.config.problems import Finding, KeyPath, did_you_mean, quote
from txrproxy.config.schema import Backend, ClientCert, Config, Match
from txrproxy.config.values import KeySource, OptionalSecret, Secret

Hook = Callable[[Any, Any], Any]


class Mismatch(ValueError):
    """A value that its key does not take; ``str()`` says what was found and what is taken."""


def structure(raw: dict[str, Any]) -> tuple[Config | None, list[Finding]]:
    """The configuration, or None and all that keeps it from being one."""
    try:
        return _CONVERTER.structure(raw, Config), []
    except BaseValidationError as error:
        return None, list(_findings(error, (), Config))


def found(value: object, *, quoted: bool = True) -> str:
    """A value as a person wrote it; strings are explained only where none is taken."""
    match value:
        case str():
            return quote(value) if quoted else f"{quote(value)} (a string)"
        case bool():
            return f"{'true' if value else 'false'} (a boolean)"
        case int() | float():
            # Python refuses to spell integers of thousands of digits.
            return f"{value} (a number)" if abs(value) < 1e30 else "a very large number"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return f"{value} (a date or time)"


def is_table(kind: Any) -> bool:
    """Whether a type is a class of the schema, and not one that a single value stands for."""
    return attrs.has(kind) and kind not in FORMS


# Hooks: one for each kind of type in the schema.


def _form_hook(kind: Any, form: Form) -> Hook:
    # A secret put where a reference to it belongs is not repeated in an error or a log.
    hidden = kind in {Secret, OptionalSecret, KeySource}

    def hook(value: object, _: object) -> Any:
        try:
            return form.parse(value)
        except Unfit as error:
            shown = found(value, quoted=form.quoted)
            if hidden and isinstance(value, str):
                shown = "a string that is not shown here"
            why = f" ({error})" if str(error) else ""
            raise Mismatch(f"found {shown}{why}, expected {form.expected}") from None

    return hook


def _literal_hook(kind: Any) -> Hook:
    choices = get_args(kind)
    quoted = isinstance(choices[0], str)
    listed = ", ".join(quote(choice) if quoted else str(choice) for choice in choices)
    expected = f"one of {listed}" if len(choices) > 1 else listed

    def hook(value: object, _: object) -> Any:
        for choice in choices:
            if type(value) is type(choice) and value == choice:
                return choice
        hint = did_you_mean(value, choices) if isinstance(value, str) and quoted else ""
        raise Mismatch(f"found {found(value, quoted=quoted)}, expected {expected}{hint}")

    return hook


def _class_hook(kind: Any) -> Hook:
    omitted: dict[str, Any] = {"base": override(omit=True)} if kind is Config else {}
    inner = make_dict_structure_fn(
        kind,
        _CONVERTER,
        _cattrs_forbid_extra_keys=True,
        _cattrs_detailed_validation=True,
        **omitted,
    )
    expected, prepare = _PREPARE.get(kind, ("a table", _unchanged))

    def hook(value: object, as_kind: object) -> Any:
        table = prepare(value)
        if not isinstance(table, dict):
            raise Mismatch(f"found {found(value, quoted=False)}, expected {expected}")
        return inner(table, as_kind)

    return hook


def _unchanged(value: object) -> object:
    return value


def _list_hook(kind: Any) -> Hook:
    as_list: Any = types.GenericAlias(list, get_args(kind)[:1])
    inner = _CONVERTER.get_structure_hook(as_list)

    def hook(value: object, _: object) -> Any:
        if value is _NOTHING:
            raise Mismatch("found an empty list, expected a value, or no such key to take any")
        if not isinstance(value, list):
            raise Mismatch(f"found {found(value, quoted=False)}, expected a list")
        return tuple(inner(value, as_list))

    return hook


def _table_hook(kind: Any) -> Hook:
    # Not gen_structure_mapping: it would put itself in the converter, in the place of this hook.
    inner = make_mapping_structure_fn(kind, _CONVERTER)

    def hook(value: object, as_kind: object) -> Any:
        if not isinstance(value, dict):
            raise Mismatch(f"found {found(value, quoted=False)}, expected a table")
        return inner(value, as_kind)

    return hook


def _backend(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


def _match(value: object) -> object:
    """One value stands for a list of one."""
    if not isinstance(value, dict):
        return value
    match = dict(value)
    for key in ("host", "path", "method", "client"):
        if key in match:
            match[key] = _several(match[key])
    for key in ("header", "query"):
        if isinstance(match.get(key), dict):
            match[key] = {name: _several(value) for name, value in match[key].items()}
    return match


def _client_cert(value: object) -> object:
    """One value stands for a list of one."""
    if not isinstance(value, dict):
        return value
    return {key: _several(inner) for key, inner in value.items()}


def _several(value: object) -> object:
    # An empty list must not become "no condition", which would take everything.
    return (value or _NOTHING) if isinstance(value, list) else [value]


_NOTHING = object()


# Classes that are also written in another way: what is taken, and how it is made a table.
_PREPARE: dict[Any, tuple[str, Callable[[object], object]]] = {
    Backend: ("a URL or a table", _backend),
    ClientCert: ("a table", _client_cert),
    Match: ("a table", _match),
}


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[-1] is ...


def _is_dict(kind: Any) -> bool:
    return get_origin(kind) is dict


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _is(kind: Any) -> Callable[[Any], bool]:
    return lambda other: bool(other == kind)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)
    converter.register_structure_hook_factory(is_table, _class_hook)
    converter.register_structure_hook_factory(_is_list, _list_hook)
    converter.register_structure_hook_factory(_is_dict, _table_hook)
    converter.register_structure_hook_factory(_is_literal, _literal_hook)
    for kind, form in FORMS.items():
        if get_origin(kind) is tuple:  # cattrs takes generics by predicate only
            converter.register_structure_hook_func(_is(kind), _form_hook(kind, form))
        else:
            converter.register_structure_hook(kind, _form_hook(kind, form))
    return converter


_CONVERTER = _make_converter()


# From cattrs's tree of exceptions to findings.


def _findings(error: BaseException, path: KeyPath, kind: Any) -> Iterator[Finding]:
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            note = _note(inner)
            if isinstance(note, AttributeValidationNote):
                yield from _findings(inner, (*path, note.name), error.cl)
            elif isinstance(note, IterableValidationNote):
                yield from _findings(inner, (*path, note.index), error.cl)
            else:
                yield from _findings(inner, path, error.cl)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl) if field.name != "base"]
        for name in sorted(error.extra_fields):
            near = did_you_mean(name, known)
            yield Finding((*path, name), f"unknown key{near or '; known: ' + ', '.join(known)}")
    elif isinstance(error, KeyError):
        yield Finding(path, f"missing; expected {_meaning(kind, str(path[-1]))}")
    else:
        yield Finding(path, str(error))


def _note(error: BaseException) -> object:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote | IterableValidationNote):
            return note
    return None


def _meaning(kind: Any, name: str) -> str:
    metadata = attrs.fields_dict(kind)[name].metadata
    return f"{name} = {metadata['example']} ({metadata['doc']})"
