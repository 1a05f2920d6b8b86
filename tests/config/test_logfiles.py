from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.config.samples import MINIMAL
from txrproxy.config import logfiles
from txrproxy.config.logfiles import log_errors
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import load, loads


class LogFilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def said(self, text: str) -> list[str]:
        config = loads(MINIMAL + text, base=self.folder)
        return [f"{'.'.join(map(str, one.path))}: {one.message}" for one in log_errors(config)]

    def test_nothing_is_made(self) -> None:
        self.assertEqual(self.said('[log]\naccess.path = "a.log"\nerror.path = "e.log"'), [])
        self.assertEqual(self.said(""), [])
        self.assertEqual(os.listdir(self.folder), [])

    def test_no_folder(self) -> None:
        why = f"can not be written: the folder {self.folder}/no does not exist"
        self.assertEqual(
            self.said('[log]\naccess.path = "no/a.log"\nerror.path = "no/e.log"'),
            [
                f"log.access.path: {self.folder}/no/a.log {why}",
                f"log.error.path: {self.folder}/no/e.log {why}",
            ],
        )

    def test_where_it_is_not_used(self) -> None:
        unused = '[log]\naccess = { path = "no/a", format = "off" }\n[waf.audit]\npath = "no/w"'
        self.assertEqual(self.said(unused), [])
        (said,) = self.said('[waf.audit]\npath = "no/w"\n[policies.p]\nwaf = { mode = "block" }')
        self.assertTrue(said.startswith("waf.audit.path: "), said)

    def test_a_folder_in_its_place(self) -> None:
        (said,) = self.said('[log]\naccess.path = "."')
        self.assertTrue(said.endswith(" can not be written: it is a folder"), said)

    def test_permissions(self) -> None:
        # Root may write everywhere: whoever runs the tests, the system is asked and says no.
        asked = []

        def access(path: object, mode: int) -> bool:
            asked.append((path, mode))
            return False

        self.patch(logfiles.os, "access", access)
        (self.folder / "there.log").touch()
        (said,) = self.said('[log]\naccess.path = "there.log"')
        self.assertTrue(said.endswith(": permission denied"), said)
        (said,) = self.said('[log]\naccess.path = "new.log"')
        self.assertTrue(said.endswith(f": permission denied in {self.folder}"), said)
        self.assertEqual(
            asked, [(self.folder / "there.log", os.W_OK), (self.folder, os.W_OK | os.X_OK)]
        )

    def test_looked_at_with_the_other_files(self) -> None:
        file = self.folder / "edge.toml"
        file.write_text(MINIMAL + '[log]\naccess.path = "no/a.log"')
        load(file)
        with self.assertRaises(ConfigErrors) as caught:
            load(file, files=True)
        self.assertIn(":10: log.access.path: ", str(caught.exception))
