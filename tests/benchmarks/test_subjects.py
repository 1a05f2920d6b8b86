"""The tables: what they name exists, and what is written for the product is valid."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.cases import CASES
from benchmarks.certificate import Certificate
from benchmarks.subjects import ORIGINS, SUBJECTS, Place, route_path, tell_version


class TableTests(SynchronousTestCase):
    def test_each_has_a_port_of_its_own(self) -> None:
        ports = [*ORIGINS, *(subject.port for subject in SUBJECTS.values())]
        self.assertEqual(len(set(ports)), len(ports))

    def test_cases_name_subjects_that_exist(self) -> None:
        named = {name for case in CASES.values() for name in case.only}
        self.assertLessEqual(named, set(SUBJECTS))

    def test_the_products_file(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        for routes, last in ((0, "/*"), (1, route_path(0) + "*"), (12, route_path(11) + "*")):
            place = Place("python", folder, 21999, folder / "access.log", routes)
            SUBJECTS["txrproxy"].configure(place)
            config = tomllib.loads((folder / "txrproxy.toml").read_text())
            self.assertEqual(len(config["routes"]), max(routes, 1))
            self.assertEqual(config["routes"][-1]["match"], {"path": last})
            self.assertEqual(config["listeners"]["in"]["bind"], ["127.0.0.1:21999"])

    def test_tls(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        tls = Certificate(folder / "cert.pem", folder / "key.pem", folder / "both.pem")
        place = Place("python", folder, 21999, folder / "access.log", tls=tls)
        for name, file, needs in (
            ("nginx", "nginx.conf", f" ssl; ssl_certificate {tls.cert}; "),
            ("haproxy", "haproxy.cfg", f" ssl crt {tls.both} alpn http/1.1 "),
            ("apache", "apache.conf", f"SSLCertificateFile {tls.cert}\n"),
        ):
            SUBJECTS[name].configure(place)
            self.assertIn(needs, (folder / file).read_text())
        SUBJECTS["txrproxy"].configure(place)
        listener = tomllib.loads((folder / "txrproxy.toml").read_text())["listeners"]["in"]
        self.assertEqual(listener["protocols"], ["http/1.1"])
        self.assertEqual(
            listener["tls"]["certificates"], [{"cert": str(tls.cert), "key": f"file:{tls.key}"}]
        )


class VersionTests(SynchronousTestCase):
    def told(self, text: str) -> str:
        return tell_version([sys.executable, "-c", f"print({text!r})"])

    def test_as_they_are_told(self) -> None:
        self.assertEqual(self.told("Server version: Apache/2.4.71 (Debian)"), "2.4.71")
        self.assertEqual(self.told("v2.11.7 h1:yj0Y4fYZ="), "2.11.7")
        self.assertEqual(self.told("envoy  version: 9e5580/1.40.0/Clean"), "1.40.0")

    def test_unknown(self) -> None:
        self.assertEqual(self.told("no idea"), "unknown")
        self.assertEqual(tell_version(["/nonexistent"]), "unknown")
