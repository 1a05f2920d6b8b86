"""Nothing is read, written or looked up, and what decides stays."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.explain.samples import edge
from txrproxy.config.build import build
from txrproxy.explain.still import Still, still
from txrproxy.wiring import STICKY_FILE


class StillTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.config = attrs.evolve(edge(), base=self.folder)

    def test_leaves_no_trace(self) -> None:
        """Certificates, authorities and modules that are not there do not matter."""
        reactor = Still()
        graph = build(still(self.config), reactor)
        self.addCleanup(graph.close)
        self.assertEqual(list(self.folder.iterdir()), [])
        self.assertEqual(list(graph.pools), ["app", "next", "mine"])

    def test_sticky_secret(self) -> None:
        """The one that is kept is used; none is made."""
        sticky = still(self.config).pools["mine"].sticky  # type: ignore[index]
        self.assertIsNone(sticky)
        kept = self.folder / "state" / STICKY_FILE
        kept.parent.mkdir()
        kept.write_bytes(b"x" * 32)
        sticky = still(self.config).pools["mine"].sticky  # type: ignore[index]
        assert sticky is not None
        self.assertEqual((sticky.secret.kind, sticky.secret.name), ("file", str(kept)))
        kept.write_bytes(b"x" * 31)
        self.assertIsNone(still(self.config).pools["mine"].sticky)  # type: ignore[index]

    def test_without(self) -> None:
        """A filter that is left out takes away from clients what it alone may say."""
        policy = still(self.config, [("guarded", "forward_auth")]).policies["guarded"]  # type: ignore[index]
        self.assertIsNone(policy.forward_auth)
        self.assertIn("remote-user", policy.request_headers.remove)
        self.assertIsNotNone(policy.rate_limit)
        same = still(self.config).policies["guarded"]  # type: ignore[index]
        self.assertEqual(same, self.config.policies["guarded"])  # type: ignore[index]

    def test_reactor(self) -> None:
        called: list[int] = []
        Still().callFromThread(called.append, 1)
        self.assertEqual(called, [1])
