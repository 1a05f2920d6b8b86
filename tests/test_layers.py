"""The layering rule, read from the table in the docstring of ``txrproxy`` and held against every
import in the source, those inside functions included."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

import txrproxy

ROOT = Path(txrproxy.__file__).parent
DECIDES = 2  # the last rank that knows neither Twisted nor the time
OUTSIDE = {"twisted", "asyncio", "socket", "select", "threading", "time", "datetime"}
# Of these, what is a function of its arguments alone.
PURE = {"socket.AF_INET", "socket.AF_INET6", "socket.inet_pton"}


@frozen
class Room:
    rank: int
    names: tuple[str, ...]


def rooms() -> list[Room]:
    rows = re.findall(r"^    (\d)  (\S+(?: \S+)*)   +\S", txrproxy.__doc__ or "", re.MULTILINE)
    return [Room(int(rank), tuple(names.split(" "))) for rank, names in rows]


def room_of(module: str) -> Room:
    """The room with the longest name that leads to the module."""
    parts = module.split(".")[1:]
    by_name = {name: room for room in rooms() for name in room.names}
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        if name in by_name:
            return by_name[name]
    raise AssertionError(f"{module} is in no room of the table in txrproxy/__init__.py")


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        if name != "txrproxy" and path.stat().st_size:
            yield name, path


def imports(source: str, package: str) -> Iterator[str]:
    """The modules that a source imports, by full name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"relative import in {package}"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in PURE:
                    continue
                yield inner if is_module(inner) else str(node.module)


def is_module(name: str) -> bool:
    path = ROOT.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


class LayerTests(SynchronousTestCase):
    def test_table(self) -> None:
        """The table is read whole, and every name in it is one."""
        found = rooms()
        self.assertGreater(len(found), 10)
        names = [name for room in found for name in room.names]
        self.assertEqual(len(names), len(set(names)))

    def test_imports_go_down(self) -> None:
        broken = []
        for name, path in modules():
            room = room_of(name)
            for target in imports(path.read_text(), name):
                if not target.startswith("txrproxy."):
                    continue
                there = room_of(target)
                if there is not room and there != room and there.rank >= room.rank:
                    broken.append(f"{name} ({room.rank}) imports {target} ({there.rank})")
        self.assertEqual(broken, [])

    def test_no_cycles(self) -> None:
        """Inside a room, too, there is an order."""
        graph = {
            name: {t for t in imports(path.read_text(), name) if t.startswith("txrproxy.")}
            for name, path in modules()
        }
        while graph:
            free = {name for name, targets in graph.items() if not targets & graph.keys()}
            self.assertTrue(free, f"import cycle among {sorted(graph)}")
            graph = {name: targets for name, targets in graph.items() if name not in free}

    def test_what_decides_knows_no_outside(self) -> None:
        broken = [
            f"{name} imports {target}"
            for name, path in modules()
            if room_of(name).rank <= DECIDES
            for target in imports(path.read_text(), name)
            if target.split(".")[0] in OUTSIDE
        ]
        self.assertEqual(broken, [])

    def test_reads_imports(self) -> None:
        source = (
            "import time\nfrom txrproxy import errors, __version__\n"
            "def f():\n    from txrproxy.http.head import RequestHead\n"
        )
        self.assertEqual(
            list(imports(source, "x")),
            ["time", "txrproxy.errors", "txrproxy", "txrproxy.http.head"],
        )

    def test_architecture_names_every_room(self) -> None:
        path = ROOT.parent / "docs" / "architecture.md"
        if not path.is_file():
            self.skipTest("an installed package has no docs")
        text = path.read_text()
        for room in rooms():
            for name in room.names:
                self.assertIn(f"`{name.replace('.', '/')}", text)
