"""The targets under atheris, guided by coverage: ``python -m tests.fuzz [--seconds N] [TARGET]``.

Each target runs in a process of its own, for N seconds (20). What a run finds interesting stays in
``build/fuzz``, and the next one begins from there; so does an input that breaks something, as
``crash-*``, with the words of the failure on the terminal and status 1 at the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path("build/fuzz")
LONGEST = 1024  # bytes of an input
MEMORY = 1024  # MiB that a target may take


def run(name: str, seconds: int) -> int:
    """Fuzz one target, in a process of its own."""
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.call(
        [sys.executable, "-m", "tests.fuzz", "--one", name, "--seconds", str(seconds)]
    )


def one(name: str, seconds: int) -> None:
    """Fuzz in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=["txrproxy"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    folder = FOLDER / name
    for number, seed in enumerate(target.seeds):
        (folder / f"seed-{number}").write_bytes(seed)
    words = FOLDER / f"{name}.dict"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words if word)
    words.write_text("".join(f'"{word}"\n' for word in escaped))
    options = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        f"-rss_limit_mb={MEMORY}",
        "-timeout=10",
        "-verbosity=0",
        f"-dict={words}",
        f"-artifact_prefix={folder}/",
        str(folder),
    ]
    atheris.Setup(options, target.check)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=20, help="for each target (20)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if find_spec("atheris") is None:
        print("atheris is not installed: pip install atheris")
        return 0
    if asked.one:
        one(asked.one, asked.seconds)
    from tests.fuzz.targets import TARGETS

    unknown = set(asked.targets) - TARGETS.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(TARGETS)}")
    broken = []
    for name in asked.targets or TARGETS:
        print(f"{name}, {asked.seconds} s", flush=True)
        if run(name, asked.seconds):
            broken.append(name)
    print(f"broken: {', '.join(broken)}" if broken else "nothing broke")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
