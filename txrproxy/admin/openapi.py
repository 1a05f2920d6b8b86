"""The OpenAPI document of the admin server, written from its table of operations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from txrproxy import __version__

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string", "description": "what is wrong, and what is allowed"},
        "allowed": {
            "type": "array",
            "items": {"type": "string"},
            "description": "names or methods that would have done",
        },
    },
}
_MEANING = {
    400: "The request makes no sense; the text names what is allowed.",
    401: "A token is needed.",
    403: "This Host, or this Origin, may not ask.",
    404: "There is no such thing; `allowed` has the names of those there are.",
    409: "It can not be done; nothing has changed.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    503: "Not ready.",
}


def document(operations: Iterable[Any]) -> dict[str, Any]:
    """Of rows of :data:`txrproxy.admin.operations.OPERATIONS`."""
    paths: dict[str, dict[str, Any]] = {}
    for row in operations:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "txrproxy admin",
            "version": __version__,
            "description": "Status, metrics and control of a txrproxy.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(row: Any) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", row.path)
    ]
    parameters += [
        {"name": name, "in": "query", "schema": schema} for name, schema in row.query.items()
    ]
    found: dict[str, Any] = {
        "operationId": row.name,
        "summary": row.text,
        # Without a token in the configuration none is needed, hence the empty alternative.
        "security": [] if row.open else [{"token": []}, {}],
        "responses": _responses(row),
    }
    if parameters:
        found["parameters"] = parameters
    if row.body is not None:
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": dict(row.body)}},
        }
    return found


def _responses(row: Any) -> dict[str, Any]:
    content = "text/plain" if row.answer["type"] == "string" else "application/json"
    found: dict[str, Any] = {
        "200": {"description": "Done.", "content": {content: {"schema": dict(row.answer)}}}
    }
    statuses = {400, 403, *row.errors}
    if not row.open:
        statuses.add(401)
    if row.body is not None:
        statuses |= {413, 415}
    for status in sorted(statuses):
        schema = {"$ref": "#/components/schemas/Error"}
        if status == 503:
            schema = dict(row.answer)
        found[str(status)] = {
            "description": _MEANING[status],
            "content": {"application/json": {"schema": schema}},
        }
    return found
