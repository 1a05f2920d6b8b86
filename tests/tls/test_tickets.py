"""Tickets between processes: ``tests/service/test_resumption.py``; here, between what they make."""

from __future__ import annotations

import copy
import gc
import os
import time
import weakref
from typing import Any

from twisted.logger import globalLogPublisher

from tests.tls.handshake import client_context, shake
from tests.tls.test_contexts import ALICE, A, B, Case
from txrproxy.tls import contexts as made_by
from txrproxy.tls.tickets import AHEAD, LIFE, Keys, make_all, sealing

VERSIONS = ("1.2", "1.3")


class SealingTests(Case):
    def test_one_of_each_kind(self) -> None:
        """The same ever after, and the same for what comes to the same."""
        make_all(time.monotonic())
        self.assertIs(sealing("intermediate"), sealing("intermediate", "1.2"))
        self.assertIs(sealing("modern", "1.2"), sealing("modern", "1.3"))
        kinds = {sealing("intermediate"), sealing("intermediate", "1.3"), sealing("modern")}
        self.assertEqual(len(kinds), 3)

    def test_contexts_made_apart(self) -> None:
        """As two workers make them, and one again after a reload."""
        for version in VERSIONS:
            for more in ({}, {"profile": "modern"}):
                if more and version == "1.2":
                    continue
                one = self.serve(self.write(A, "a"), realm="https", **more)
                other = self.serve(self.write(A, "a"), realm="https", **more)
                context = client_context(version)
                known = shake(one, b"a.example", context).session
                outcome = shake(other, b"a.example", context, session=known)
                self.assertTrue(outcome.resumed, (version, more))
                self.assertEqual(outcome.alert, "")

    def test_listeners_share_no_sessions(self) -> None:
        for version in VERSIONS:
            one = self.serve(self.write(A, "a"), realm="one")
            other = self.serve(self.write(A, "a"), realm="other")
            context = client_context(version)
            known = shake(one, b"a.example", context).session
            outcome = shake(other, b"a.example", context, session=known)
            self.assertEqual((outcome.resumed, outcome.alert), (False, ""))

    def test_nothing_that_was_not_asked_for_is_resumed(self) -> None:
        """Another worker may have another file for a moment: its sessions are none there."""
        before = self.serve(self.write(A, "a"), realm="https")
        after = self.serve(
            self.write(A, "a", client_auth="required", client_ca=self.ca), realm="https"
        )
        for version in VERSIONS:
            nobody = client_context(version)
            known = shake(before, b"a.example", nobody).session
            self.assertNotEqual(shake(after, b"a.example", nobody, session=known).alert, "")
            alice = client_context(version, certificate=ALICE)
            known = shake(before, b"a.example", alice).session
            outcome = shake(after, b"a.example", alice, session=known)
            self.assertEqual((outcome.resumed, outcome.alert), (False, ""))

    def test_what_a_name_asks_for_holds(self) -> None:
        """The contexts that connections are made from are without rules of their own."""
        contexts = self.serve(
            self.write(A, "a"), self.write(B, "b", client_auth="required", client_ca=self.ca)
        )
        for version in VERSIONS:
            self.assertNotEqual(shake(contexts, b"b.example", client_context(version)).alert, "")

    def test_without_tickets(self) -> None:
        contexts = self.serve(self.write(A, "a"), session_tickets=False)
        self.assertIs(contexts._served.sealing, contexts._served.first)


class KeysTests(Case):
    def test_used_for_a_week(self) -> None:
        for ahead in (True, False):
            keys = Keys()
            if ahead:
                keys.ahead(100.0)
            keys.turn(100.0)
            first = keys.get("intermediate"), keys.get("modern")
            keys.turn(100.0 + LIFE - 1)
            self.assertEqual((keys.get("intermediate"), keys.get("modern")), first)
            keys.turn(100.0 + LIFE)
            self.assertIsNot(keys.get("intermediate"), first[0])
            self.assertIsNot(keys.get("modern"), first[1])

    def test_forgotten(self) -> None:
        for ahead in (True, False):
            keys = Keys()
            if ahead:
                keys.ahead(0.0)
            keys.turn(0.0)
            old = weakref.ref(keys.get("intermediate"))
            keys.turn(LIFE)
            gc.collect()
            self.assertIsNone(old())

    def test_processes_agree(self) -> None:
        """Whenever each looks: two copies of what was made before the fork."""
        keys = Keys()
        keys.ahead(0.0)
        other = copy.copy(keys)
        other._made = {kind: list(made) for kind, made in keys._made.items()}
        for now in (LIFE, 2 * LIFE, 3.5 * LIFE):
            keys.turn(now)
        other.turn(3.5 * LIFE)
        for profile in ("intermediate", "modern"):
            self.assertIs(keys.get(profile), other.get(profile))

    def test_none_left(self) -> None:
        """The last one stays, for workers could not agree on another; that is said once."""
        keys = Keys()
        keys.ahead(0.0)
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        keys.turn((AHEAD - 1) * LIFE)
        last = keys.get("modern")
        self.assertEqual(events, [])
        keys.turn((AHEAD + 5) * LIFE)
        self.assertIs(keys.get("modern"), last)
        (event,) = events
        self.assertIn("no newer keys", event["log_format"])

    def test_sessions_over_a_turn(self) -> None:
        keys = Keys()
        self.patch(made_by, "sealing", keys.get)
        self.patch(made_by, "turn", keys.turn)
        for version in VERSIONS:
            served = self.serve(self.write(A, "a"))
            served.turn(1.0)
            context = client_context(version)
            known = shake(served, b"a.example", context).session
            served.turn(LIFE)
            self.assertTrue(shake(served, b"a.example", context, session=known).resumed)
            served.turn(1.0 + LIFE)
            outcome = shake(served, b"a.example", context, session=known)
            self.assertEqual((outcome.resumed, outcome.alert), (False, ""))
            newer = shake(served, b"a.example", context, session=outcome.session)
            self.assertTrue(newer.resumed)
            keys._began = None

    def test_turned_without_tickets(self) -> None:
        served = self.serve(self.write(A, "a"), session_tickets=False)
        first = served._served
        served.turn(time.monotonic())
        self.assertIs(served._served, first)


class ForkTests(Case):
    def test_a_child_opens_what_another_sealed(self) -> None:
        make_all(time.monotonic())
        for version in VERSIONS:
            context = client_context(version)
            sealed = shake(self.serve(self.write(A, "a")), b"a.example", context).session
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    # All that a listener has is made after the fork.
                    mine = self.serve(self.write(A, "a"))
                    outcome = shake(mine, b"a.example", context, session=sealed)
                    status = 0 if outcome.resumed else 2
                finally:
                    os._exit(status)
            self.assertEqual(os.waitpid(pid, 0)[1], 0, version)
