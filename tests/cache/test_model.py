"""The store against a model of one: a dict that may forget, but never makes anything up."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.cache.storing import body_of, disk_use, find, make_store, purge, put, response
from txrproxy.cache.entry import BLOCK

BOUND = 2 << 20
LANGUAGES = (b"", b"de", b"en")
PATTERN = bytes(range(256)) * (BLOCK // 256 + 300)

keys = st.sampled_from([b"a", b"a/b", b"b"])
languages = st.sampled_from(LANGUAGES)
sizes = st.sampled_from([0, 1, 1000, 65_536, 65_537, 300_000, BLOCK + 100])


class StoreMachine(RuleBasedStateMachine):
    """``model`` has what was stored last, by key and variant: its number, size, and staleness.

    What the store has must be in the model as it is; that something is missing is an eviction,
    which must not happen while there is room.
    """

    def __init__(self) -> None:
        super().__init__()
        self.path = tempfile.mkdtemp()
        self.model: dict[tuple[bytes, bytes], dict[str, Any]] = {}
        self.number = 0
        self.evicted = False
        self.store = make_store(self.path, max_size=BOUND)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.path)

    def body(self, number: int, size: int) -> bytes:
        return PATTERN[number % 256 :][:size]

    def put(self, key: bytes, language: bytes, size: int, how: str) -> None:
        self.number += 1
        varied: dict[str, Any] = {}
        if language:
            varied = {"vary": [b"accept-language"], "variant": language}
        stored = response(key, responded=float(self.number), tags=[key[:1]], **varied)
        if how == "abort":
            fill = self.store.fill(stored, None)
            assert fill is not None
            fill.write(self.body(self.number, size))
            fill.abort()
            return
        put(self.store, stored, self.body(self.number, size), 50_000)
        if language:
            # The first response with Vary takes the place of one without.
            self.marked(key)
        self.model[key, language] = {"number": self.number, "size": size, "stale": False}

    def marked(self, key: bytes) -> None:
        entry = self.model.get((key, b""))
        if entry is not None:
            entry["maybe"] = True

    @rule(key=keys, language=languages, size=sizes, how=st.sampled_from(["commit"] * 4 + ["abort"]))
    def fill(self, key: bytes, language: bytes, size: int, how: str) -> None:
        self.put(key, language, size, how)

    @rule(key=keys, language=languages)
    def find(self, key: bytes, language: bytes) -> None:
        copy = find(self.store, key, b"Accept-Language: " + language if language else b"")
        if copy is None:
            entry = self.model.get((key, language))
            if entry is not None and not entry.get("maybe"):
                assert self.evicted, (key, language)
            return
        stored = copy.stored
        entry = self.model[key, stored.variant]
        assert stored.variant in (b"", language)
        assert stored.responded == entry.get("refreshed", entry["number"])
        assert stored.invalidated == entry["stale"]
        assert body_of(copy) == self.body(entry["number"], entry["size"])

    @rule(key=keys, language=languages, much=st.booleans())
    def refresh(self, key: bytes, language: bytes, much: bool) -> None:
        copy = find(self.store, key, b"Accept-Language: " + language if language else b"")
        if copy is None:
            return
        self.number += 1
        entry = self.model[key, copy.stored.variant]
        tags = [key[:1], b"x" * 3000] if much else [key[:1]]
        self.store.refresh(copy, copy.stored.replaced(responded=float(self.number), tags=tags))
        entry["refreshed"] = float(self.number)
        entry["stale"] = False
        copy.close()

    @rule(
        what=st.sampled_from(
            [
                ("all", b""),
                ("key", b"a"),
                ("url", b"http://example.com/a/b"),
                ("prefix", b"http://example.com/a"),
                ("tag", b"b"),
            ]
        ),
        soft=st.booleans(),
    )
    def purge(self, what: tuple[str, bytes], soft: bool) -> None:
        kind, value = what
        purged = purge(self.store, kind, value, soft)
        taken = [
            name
            for name in self.model
            if (kind == "all")
            or (kind == "key" and name[0] == value)
            or (kind == "url" and b"http://example.com/" + name[0] == value)
            or (kind == "prefix" and (b"http://example.com/" + name[0]).startswith(value))
            or (kind == "tag" and name[0][:1] == value)
        ]
        assert purged.count <= len(taken)
        for name in taken:
            if soft:
                self.model[name]["stale"] = True
            else:
                del self.model[name]

    @rule()
    def forget(self) -> None:
        self.store.memory.clear()

    @rule(index=st.booleans())
    @precondition(lambda self: self.number > 3)
    def restart(self, index: bool) -> None:
        self.store.close()
        if not index:
            from txrproxy.cache.index import Index

            Index.delete(self.store.folder.index)
        self.store = make_store(self.path, max_size=BOUND)

    @invariant()
    def bound(self) -> None:
        self.evicted |= self.store.owner.counts.evicted > 0
        assert self.store.owner.size <= BOUND + 5000
        assert disk_use(self.path) <= BOUND * 1.05
        assert self.store.owner.counts.damaged == 0


class ModelTests(SynchronousTestCase):
    def test_model(self) -> None:
        run_state_machine_as_test(
            StoreMachine,
            settings=settings(max_examples=30, stateful_step_count=30, deadline=None),
        )
