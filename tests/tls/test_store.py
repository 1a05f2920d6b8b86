from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import Issued, authority
from txrproxy.tls.pem import BadPem
from txrproxy.tls.store import CertificateStore, Disagreement, Policy

ROOT = authority()
A = ROOT.issue("a.example", "*.a.example")
A_RSA = ROOT.issue("a.example", kind="RSA")
B = ROOT.issue("b.example", "a.example")


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.reported: list[str] = []

    def write(self, issued: Issued, name: str, **rules: Any) -> Any:
        return issued.write(self.folder, name, **rules)

    def store(self, *sources: Any, strict: bool = False) -> CertificateStore:
        return CertificateStore(sources, Path, strict=strict, report=self.reported.append)

    def served(self, store: CertificateStore, name: str | None = None) -> list[Any]:
        entry = store.select(name)
        return [] if entry is None else [one.leaf for one in entry.certificates]


class SelectTests(Case):
    def test_order(self) -> None:
        store = self.store(self.write(A, "a"), self.write(B, "b"))
        self.assertEqual(self.served(store, "a.example"), [A.certificate])
        self.assertEqual(self.served(store, "b.example"), [B.certificate])
        self.assertEqual(self.served(store, "x.a.example"), [A.certificate])
        self.assertEqual(self.served(store, "c.example"), [A.certificate])
        self.assertEqual(self.served(store), [A.certificate])
        self.assertEqual(len(store.table.entries), 2)

    def test_both_kinds(self) -> None:
        store = self.store(self.write(A, "a"), self.write(B, "b"), self.write(A_RSA, "r"))
        both = [A.certificate, A_RSA.certificate]
        self.assertEqual(self.served(store, "a.example"), both)
        self.assertEqual(self.served(store), both)
        self.assertEqual(self.served(store, "x.a.example"), [A.certificate])

    def test_default_without_names(self) -> None:
        nameless = ROOT.issue()
        store = self.store(self.write(nameless, "n"), self.write(A, "a"))
        self.assertEqual(self.served(store), [nameless.certificate])
        self.assertEqual(self.served(store, "a.example"), [A.certificate])

    def test_strict(self) -> None:
        store = self.store(self.write(A, "a"), strict=True)
        self.assertEqual(self.served(store, "x.a.example"), [A.certificate])
        for name in (None, "", "c.example", "not a name"):
            self.assertEqual(self.served(store, name), [], name)

    def test_disagreement(self) -> None:
        first, second = self.write(A, "a"), self.write(A_RSA, "r", min_version="1.3")
        error = self.assertRaises(Disagreement, self.store, first, second)
        self.assertIn("both serve a.example", str(error))

    def test_policy(self) -> None:
        ca = self.folder / "ca.pem"
        ca.write_bytes(ROOT.pem)
        store = self.store(self.write(A, "a", client_auth="optional", client_ca=ca))
        entry = store.select("a.example")
        assert entry is not None
        self.assertEqual(entry.policy, Policy("1.2", "optional", (ROOT.certificate,)))
        self.assertTrue(entry.policy.asks)

    def test_what_openssl_refuses(self) -> None:
        weak = ROOT.issue("a.example", kind="RSA", bits=1024)
        error = self.assertRaises(BadPem, self.store, self.write(weak, "w"))
        self.assertIn("too weak to be served: a.example has an RSA key", str(error))

    def test_what_openssl_refuses_of_the_chain(self) -> None:
        middle = ROOT.issue(subject="middle", ca=True, kind="RSA", bits=1024)
        source = self.write(middle.issue("a.example"), "w")
        error = self.assertRaises(BadPem, self.store, source)
        self.assertIn("CN=middle in the chain has an RSA key of 1024 bits", str(error))


class RefreshTests(Case):
    def test_nothing_changed(self) -> None:
        store = self.store(self.write(A, "a"))
        table = store.table
        self.assertFalse(store.refresh())
        os.utime(self.folder / "a.pem", ns=(1, 1))
        self.assertFalse(store.refresh())  # touched, and the same inside
        self.assertIs(store.table, table)

    def test_changed(self) -> None:
        store = self.store(self.write(A, "a"), self.write(B, "b"))
        newer = ROOT.issue("a.example", "new.example")
        self.write(newer, "a")
        self.assertTrue(store.refresh())
        self.assertEqual(self.served(store, "new.example"), [newer.certificate])
        self.assertEqual(self.served(store, "b.example"), [B.certificate])
        self.assertEqual(self.reported, [])

    def test_symbolic_link_to_another_file(self) -> None:
        newer = ROOT.issue("a.example")
        for name, issued in (("1", A), ("2", newer)):
            issued.write(self.folder / name, "tls")
        link = self.folder / "live.pem"
        link.symlink_to(Path("1", "tls.pem"))
        key = self.folder / "live.key"
        key.symlink_to(Path("1", "tls.key"))
        store = self.store(_source(link, key))
        for place, target in ((link, "tls.pem"), (key, "tls.key")):
            place.unlink()
            place.symlink_to(Path("2", target))
        self.assertTrue(store.refresh())
        self.assertEqual(self.served(store), [newer.certificate])

    def test_symbolic_link_of_the_folder(self) -> None:
        newer = ROOT.issue("a.example")
        for name, issued in (("..v1", A), ("..v2", newer)):
            issued.write(self.folder / name, "tls")
        (self.folder / "..data").symlink_to("..v1")
        for end in ("pem", "key"):
            (self.folder / f"tls.{end}").symlink_to(f"..data/tls.{end}")
        store = self.store(_source(self.folder / "tls.pem", self.folder / "tls.key"))
        (self.folder / "..new").symlink_to("..v2")
        (self.folder / "..new").rename(self.folder / "..data")
        self.assertTrue(store.refresh())
        self.assertEqual(self.served(store), [newer.certificate])

    def test_broken_is_reported_once_and_kept(self) -> None:
        store = self.store(self.write(A, "a"), self.write(B, "b"))
        newer = ROOT.issue("b.example")
        (self.folder / "a.pem").write_bytes(b"broken")
        self.write(newer, "b")
        self.assertTrue(store.refresh())
        self.assertEqual(self.served(store, "a.example"), [A.certificate])
        self.assertEqual(self.served(store, "b.example"), [newer.certificate])
        self.assertFalse(store.refresh())
        self.assertEqual(len(self.reported), 1)
        self.assertIn(str(self.folder / "a.pem"), self.reported[0])
        self.assertIn("still served", self.reported[0])

    def test_removed_and_back(self) -> None:
        store = self.store(self.write(A, "a"))
        (self.folder / "a.pem").unlink()
        for _ in range(2):
            self.assertFalse(store.refresh())
        self.assertEqual(len(self.reported), 1)
        self.assertEqual(self.served(store), [A.certificate])
        newer = ROOT.issue("a.example")
        self.write(newer, "a")
        self.assertTrue(store.refresh())
        self.assertEqual(self.served(store), [newer.certificate])

    def test_what_does_not_fit_holds_back_itself_alone(self) -> None:
        strict = self.write(ROOT.issue("c.example", kind="RSA"), "c", min_version="1.3")
        store = self.store(self.write(A, "a"), strict)
        self.write(ROOT.issue("a.example", kind="RSA"), "c")
        newer = ROOT.issue("a.example")
        self.write(newer, "a")
        self.assertTrue(store.refresh())
        self.assertEqual(self.served(store, "a.example"), [newer.certificate])
        self.assertIsNot(store.select("c.example"), store.table.default)
        self.assertEqual(len(self.reported), 1)
        self.assertIn("both serve a.example", self.reported[0])

    def test_authorities(self) -> None:
        ca = self.folder / "ca.pem"
        ca.write_bytes(ROOT.pem)
        store = self.store(self.write(A, "a", client_auth="required", client_ca=ca))
        other = authority("other")
        ca.write_bytes(other.pem)
        self.assertTrue(store.refresh())
        self.assertEqual(store.table.default.policy.authorities, (other.certificate,))
        ca.write_bytes(b"")
        self.assertFalse(store.refresh())
        self.assertIn(str(ca), self.reported[0])
        self.assertEqual(store.table.default.policy.authorities, (other.certificate,))

    def test_names_of_what_changed(self) -> None:
        ca = self.folder / "ca.pem"
        ca.write_bytes(ROOT.pem)
        store = self.store(self.write(A, "a", client_auth="required", client_ca=ca))
        self.assertEqual(store.file(0), str(self.folder / "a.pem"))
        self.assertEqual(store.file(ca), str(ca))


def _source(cert: Path, key: Path) -> Any:
    from txrproxy.config.values import Secret
    from txrproxy.tls.certificates import Source

    return Source(cert, Secret("file", str(key)))
