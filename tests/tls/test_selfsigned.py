from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import NOW
from txrproxy.tls import selfsigned
from txrproxy.tls.certificates import SOON, faults, load
from txrproxy.tls.pem import BadPem
from txrproxy.tls.selfsigned import CERT_FILE, KEY_FILE, VALID, self_signed

LIFE = VALID.total_seconds()


class SelfSignedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()) / "state"

    def made(self, now: float = NOW, hostname: str = "box.example") -> bytes:
        return load(self_signed(self.folder, now, hostname), Path).digest

    def test_names_and_life(self) -> None:
        loaded = load(self_signed(self.folder, NOW, "Box.example"), Path)
        self.assertEqual(
            loaded.names, ("localhost", "*.localhost", "box.example", "127.0.0.1", "::1")
        )
        self.assertEqual(list(faults(loaded, NOW, Path)), [])
        self.assertEqual(loaded.expires, NOW - 3600 + LIFE)

    def test_odd_host_names(self) -> None:
        for hostname in ("localhost", "10.0.0.1", "no name", ""):
            self.folder = Path(self.mktemp())
            loaded = load(self_signed(self.folder, NOW, hostname), Path)
            self.assertEqual(len(loaded.names), 4, hostname)

    def test_name_of_this_machine(self) -> None:
        self.patch(socket, "gethostname", lambda: "here.example")
        self.assertIn("here.example", load(self_signed(self.folder, NOW), Path).names)

    def test_is_kept(self) -> None:
        first = self.made()
        self.assertEqual(self.made(NOW + LIFE - SOON - 3602), first)

    def test_is_renewed(self) -> None:
        first = self.made()
        self.assertNotEqual(self.made(NOW + LIFE - SOON), first)

    def test_made_by_another_meanwhile(self) -> None:
        """Of two that find it missing, the second finds it there when its turn comes."""
        made: list[bytes] = []

        def alone(folder: Path) -> Any:
            if not made:
                made.append(b"")
                made[0] = self.made()
            return real(folder)

        real = selfsigned._alone
        self.patch(selfsigned, "_alone", alone)
        self.assertEqual(self.made(), made[0])

    def test_is_made_again_from_the_future(self) -> None:
        first = self.made(NOW + 86400)
        self.assertNotEqual(self.made(NOW), first)

    def test_permissions(self) -> None:
        self.made()
        self.assertEqual((self.folder / KEY_FILE).stat().st_mode & 0o777, 0o600)
        self.assertEqual((self.folder / CERT_FILE).stat().st_mode & 0o777, 0o600)
        self.assertEqual(len(list(self.folder.iterdir())), 2)

    def test_broken_is_made_anew(self) -> None:
        self.made()
        (self.folder / KEY_FILE).write_bytes(b"")
        self.made()

    def test_folder_that_takes_nothing(self) -> None:
        self.folder.parent.mkdir()
        self.folder.write_bytes(b"a file")
        error = self.assertRaises(BadPem, self_signed, self.folder, NOW, "a")
        self.assertIn("can not be kept here", str(error))

    def test_failed_write_leaves_nothing(self) -> None:
        def fails(*_: object) -> None:
            raise OSError(28, "No space left on device")

        self.patch(selfsigned.os, "replace", fails)
        error = self.assertRaises(BadPem, self_signed, self.folder, NOW, "a")
        self.assertIn("No space left", str(error))
        self.assertEqual(list(self.folder.iterdir()), [])
