"""What is installed works: from a wheel, and from a source tree in editable mode.

Each way gets an environment of its own that sees the dependencies of this one, but not the package:
the folders it has its modules from are named in a path file, and path files do not nest.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.twistd import PATIENCE, RUN, TREE, Twistd, get

CONFIG = """\
version = 1
[log]
access = { format = "off" }
[listeners.http]
bind = ["127.0.0.1:0"]
[[routes]]
name = "hello"
respond = { status = 200, body = "hello from the package" }
"""


def run(*words: str, cwd: Path) -> str:
    """What a command that succeeds prints; nothing of the source tree is on its path."""
    done = subprocess.run(
        words,
        cwd=cwd,
        env=clean(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=10 * PATIENCE,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(words)}\n{done.stdout}")
    return done.stdout


def clean() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


def pip(*words: str, cwd: Path) -> None:
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", *words, cwd=cwd)


def copy_of_source(folder: Path) -> Path:
    """The tree without what was built in it, so that building leaves it alone."""
    source = folder / "source"
    leave = shutil.ignore_patterns("__pycache__", "dropin.cache", ".*", "_trial_temp*")
    source.mkdir()
    for name in ("docs", "etc", "tests", "twisted", "txrproxy"):
        shutil.copytree(TREE / name, source / name, ignore=leave)
    for path in TREE.iterdir():
        if (
            path.is_file()
            and path.name[0] != "."
            and path.suffix in {".cfg", ".toml", ".md", ".in", ""}
        ):
            shutil.copy(path, source)
    return source


class Environment:
    """A virtual environment with the dependencies and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run(sys.executable, "-m", "venv", "--without-pip", str(folder), cwd=folder.parent)
        self.python = str(folder / "bin" / "python")
        # Here and not in the tree, so that the tree is on nobody's path.
        self.packages = Path(
            run(
                self.python,
                "-c",
                "import sysconfig; print(sysconfig.get_path('purelib'))",
                cwd=folder,
            ).strip()
        )
        theirs = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (self.packages / "dependencies.pth").write_text("\n".join(sorted(theirs)) + "\n")

    def install(self, *words: str) -> None:
        options = ("install", "-q", "--no-deps", "--no-build-isolation", "--no-index")
        pip("--python", self.python, *options, *words, cwd=self.folder)

    def run(self, *words: str) -> str:
        return run(self.python, *words, cwd=self.folder)


class InstallTests(TestCase):
    timeout = 20 * PATIENCE

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.source = copy_of_source(self.folder)

    def check(self, environment: Environment, home: Path) -> None:
        """It comes from where it should, twistd knows it, and it answers."""
        where = environment.run("-c", "import txrproxy; print(txrproxy.__file__)")
        self.assertEqual(Path(where.strip()), home / "txrproxy" / "__init__.py")
        self.assertRegex(environment.run("-c", RUN, "--help"), r"\n *txrproxy +An HTTP reverse")
        self.assertRegex(environment.run("-c", RUN, "--help-reactors"), r"\n *txrproxy\s+lean")
        config = environment.folder / "edge.toml"
        config.write_text(CONFIG)
        summary = run(
            str(environment.folder / "bin" / "txrproxy"), "check", str(config), cwd=config.parent
        )
        self.assertIn("respond 200", summary)
        proxy = Twistd(config, python=environment.python, env=clean())
        self.addCleanup(proxy.kill)
        self.assertIn(b"\r\n\r\nhello from the package", get(proxy.port()))
        self.assertEqual(proxy.end(), -signal.SIGTERM)

    def test_wheel(self) -> None:
        pip(
            *("wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"),
            *("-w", "wheels", str(self.source)),
            cwd=self.folder,
        )
        (wheel,) = (self.folder / "wheels").iterdir()
        names = zipfile.ZipFile(wheel).namelist()
        for wanted in (
            "txrproxy/py.typed",
            "twisted/plugins/txrproxy_plugin.py",
            "twisted/plugins/txrproxy_reactor.py",
        ):
            self.assertIn(wanted, names)
        packaged = {name for name in names if name.startswith("txrproxy/")}
        written = {str(p.relative_to(TREE)) for p in (TREE / "txrproxy").rglob("*.py")}
        self.assertEqual(written - packaged, set())
        top = {name.split("/")[0].partition("-")[0] for name in names}
        self.assertEqual(top, {"txrproxy", "twisted"})
        # Twisted's own package is not ours to define.
        self.assertEqual(
            [n for n in names if n in ("twisted/__init__.py", "twisted/plugins/__init__.py")], []
        )
        environment = Environment(self.folder / "environment")
        environment.install(str(wheel))
        self.check(environment, environment.packages)

    def test_editable(self) -> None:
        environment = Environment(self.folder / "environment")
        environment.install("-e", str(self.source))
        self.check(environment, self.source)


class SourceDistributionTests(SynchronousTestCase):
    def test_content(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        source = copy_of_source(folder)
        build = "from setuptools.build_meta import build_sdist; build_sdist('..')"
        run(sys.executable, "-c", build, cwd=source)
        (archive,) = folder.glob("*.tar.gz")
        with tarfile.open(archive) as file:
            names = {name.partition("/")[2] for name in file.getnames()}
        for wanted in (
            *("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "etc/demo.toml"),
            *("twisted/plugins/txrproxy_plugin.py", "txrproxy/py.typed", "tests/twistd.py"),
        ):
            self.assertIn(wanted, names)
        self.assertEqual([n for n in names if n.endswith((".pyc", "dropin.cache"))], [])
