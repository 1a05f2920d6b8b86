"""The document has every operation, and is JSON."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.admin.openapi import document
from txrproxy.admin.operations import OPERATIONS


class Document(SynchronousTestCase):
    def setUp(self) -> None:
        self.document = json.loads(json.dumps(document(OPERATIONS)))

    def test_every_operation(self) -> None:
        paths = self.document["paths"]
        found = {(m.upper(), path) for path, methods in paths.items() for m in methods}
        self.assertEqual(found, {(row.method, row.path) for row in OPERATIONS})

    def test_parameters(self) -> None:
        entries = self.document["paths"]["/api/v1/cache/{cache}/entries"]["get"]
        self.assertEqual(
            [(each["name"], each["in"]) for each in entries["parameters"]],
            [("cache", "path"), ("prefix", "query"), ("limit", "query")],
        )

    def test_tokens(self) -> None:
        paths = self.document["paths"]
        self.assertEqual(paths["/healthz"]["get"]["security"], [])
        self.assertNotIn("401", paths["/healthz"]["get"]["responses"])
        self.assertEqual(paths["/metrics"]["get"]["security"], [{"token": []}, {}])
        self.assertIn("401", paths["/metrics"]["get"]["responses"])

    def test_bodies(self) -> None:
        level = self.document["paths"]["/api/v1/log/level"]["put"]
        schema = level["requestBody"]["content"]["application/json"]["schema"]
        self.assertEqual(schema["required"], ["level"])
        self.assertLessEqual({"200", "400", "409", "413", "415"}, set(level["responses"]))

    def test_text(self) -> None:
        answer = self.document["paths"]["/metrics"]["get"]["responses"]["200"]
        self.assertEqual(list(answer["content"]), ["text/plain"])
