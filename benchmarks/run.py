#!/usr/bin/env python3
"""Measure txrproxy and its peers side by side: ``python benchmarks/run.py``. See README.md."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Run as a script, the folder of this file comes first; what is imported is the package above it.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import certificate, profiler, report  # noqa: E402
from benchmarks.cases import CASES, Case, Sample  # noqa: E402
from benchmarks.load import LoadError  # noqa: E402
from benchmarks.origin import origin  # noqa: E402
from benchmarks.process import (  # noqa: E402
    LOAD_CORE,
    SUBJECT_CORE,
    StartError,
    find_program,
    running,
)
from benchmarks.subjects import ORIGINS, SUBJECTS, Place, Subject, tell_version  # noqa: E402

PRODUCT = "txrproxy"
TOOLS = {"wrk": "--version", "h2load": "--version", "taskset": "--version", "openssl": "version"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0; 1 when the product failed a run or a request; 2 when nothing could run."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _stop)  # so that what was started is ended
    os.sched_setaffinity(0, {LOAD_CORE})  # never in the subject's way
    lacking = [tool for tool in TOOLS if find_program(tool) is None]
    if lacking:
        print(f"these must be on PATH: {', '.join(lacking)}", file=sys.stderr)
        return 2
    wanted = [SUBJECTS[name] for name in options.subjects]
    programs = {s.name: s.find(options.venv, options.peers) for s in wanted}
    found = {s: program for s in wanted if (program := programs[s.name])}
    missing = [name for name, program in programs.items() if program is None]
    for name in missing:
        print(f"{name}: not installed, left out", file=sys.stderr)
    if not found:
        return 2
    cases = [CASES[name] for name in options.cases]
    nginx = SUBJECTS["nginx"].find(options.venv, options.peers)
    results = report.Report(
        name=options.name,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=_command_line(options),
        machine=report.machine(),
        versions=_versions(found, nginx),
        missing=missing,
    )
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        os.chmod(folder, 0o755)  # peers that shed root must get in
        tls = certificate.make(Path(folder, "certificate"))
        with origin(Path(folder, "origin"), ORIGINS, nginx):
            try:
                if options.profile:
                    return _profile(options, cases, found, tls, Path(folder))
                _measure(options, cases, found, tls, Path(folder), results)
            except KeyboardInterrupt:
                print("stopped early; what is known is written", file=sys.stderr)
    markdown_file, json_file = report.write(results, cases, options.results)
    print(markdown_file.read_text())
    print(f"written: {markdown_file} {json_file}", file=sys.stderr)
    faults = results.faults(PRODUCT)
    for fault in faults:
        print(f"{PRODUCT} failed {fault}", file=sys.stderr)
    return 1 if faults else 0


def _measure(
    options: argparse.Namespace,
    cases: Sequence[Case],
    found: Mapping[Subject, str],
    tls: certificate.Certificate,
    folder: Path,
    results: report.Report,
) -> None:
    """Round by round and subject by subject, so that a change of the machine touches all alike."""
    for case in cases:
        able = [subject for subject in found if not case.only or subject.name in case.only]
        for number in range(options.rounds):
            for subject in able:
                if subject.name in results.failures.get(case.name, {}):
                    continue  # it would only fail again
                here = folder / f"{case.name}-{number}-{subject.name}"
                try:
                    sample = _one(case, subject, found[subject], tls, here, options.seconds)
                except (LoadError, StartError) as error:
                    results.fail(case, subject.name, str(error))
                    print(f"{case.name}: {subject.name} failed: {error}", file=sys.stderr)
                else:
                    results.add(case, subject.name, sample)
                    print(
                        f"{case.name} {number + 1}/{options.rounds}: {subject.name} "
                        f"{sample.cost:.2f} {case.unit} {dict(sample.errors) or ''}",
                        file=sys.stderr,
                    )


def _one(
    case: Case,
    subject: Subject,
    program: str,
    tls: certificate.Certificate,
    folder: Path,
    seconds: int,
) -> Sample:
    with _started(case, subject, program, tls, folder) as (pid, log):
        sample = case.measure(pid, subject.port, seconds, tls.trusting())
    logs = list(folder.glob(f"{log.name}*"))  # Twisted's rotates
    unlogged = sample.answered - sum(map(_count_lines, logs))
    for file in logs:
        file.unlink()
    if unlogged > 0:  # it did less than the others
        sample = replace(sample, errors={**sample.errors, "unlogged": unlogged})
    return sample


def _count_lines(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


@contextmanager
def _started(
    case: Case,
    subject: Subject,
    program: str,
    tls: certificate.Certificate,
    folder: Path,
    **how: Any,
) -> Iterator[tuple[int, Path]]:
    folder.mkdir()
    log = folder / "access.log"
    how["tls"] = tls if case.tls else None
    place = Place(program, folder, subject.port, log, case.routes, cache=case.cache, **how)
    start = subject.configure(place)
    ports = (subject.port,)
    with running(
        start.command, ports=ports, core=SUBJECT_CORE, folder=folder, env=start.env
    ) as pid:
        yield pid, place.log


def _profile(
    options: argparse.Namespace,
    cases: Sequence[Case],
    found: Mapping[Subject, str],
    tls: certificate.Certificate,
    folder: Path,
) -> int:
    """Run each case once under each profiler there is, for ``options.profile`` alone."""
    subject = SUBJECTS[options.profile]
    if subject not in found:
        print(f"{subject.name} is not installed", file=sys.stderr)
        return 2
    stem = f"{datetime.now(UTC):%Y-%m-%d}-{options.name}"
    options.results.mkdir(parents=True, exist_ok=True)
    status = 2
    for case in cases:
        for tool in profiler.available(options.venv, subject.name == PRODUCT):
            target = options.results / f"{stem}-{case.name}-{tool.name}.txt"
            here = folder / f"{case.name}-{tool.name}"
            try:
                with (
                    _started(case, subject, found[subject], tls, here, **tool.how) as (pid, _),
                    tool.recording(pid, here, options.seconds),
                ):
                    case.measure(pid, subject.port, options.seconds, tls.trusting())
                target.write_text(tool.read(here))
            except (LoadError, StartError, profiler.ProfileError) as error:
                print(f"{case.name}: {tool.name}: {error}", file=sys.stderr)
            else:
                print(f"written: {target}", file=sys.stderr)
                status = 0
    return status


def _versions(found: Mapping[Subject, str], nginx: str | None) -> dict[str, str]:
    versions = {}
    for subject, program in found.items():
        versions[subject.name] = tell_version([program, *subject.version])
        if subject.name == report.BASELINE != Path(program).name:  # builds differ by half
            versions[subject.name] += f" ({Path(program).name})"
    if product := found.get(SUBJECTS[PRODUCT]):
        versions[PRODUCT] += f" ({_commit(product)})"
    for tool in ("wrk", "h2load", "openssl"):
        versions[tool] = tell_version([find_program(tool) or tool, TOOLS[tool]])
    versions["origin"] = f"nginx {tell_version([nginx, '-v'])}" if nginx else "benchmarks/origin.py"
    return versions


def _commit(python: str) -> str:
    """The commit of the checkout that ``python`` imports the product from."""
    where = "import txrproxy, pathlib; print(pathlib.Path(txrproxy.__file__).parent)"
    try:
        folder = _output([python, "-c", where])
        return _output(["git", "-C", folder, "describe", "--always", "--dirty"])
    except (OSError, subprocess.SubprocessError):
        return "no commit known"


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, cwd="/")
    return done.stdout.strip()


def _command_line(options: argparse.Namespace) -> str:
    return (
        f"benchmarks/run.py --cases {','.join(options.cases)} "
        f"--subjects {','.join(options.subjects)} "
        f"--rounds {options.rounds} --seconds {options.seconds}"
    )


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="CPU time a request of txrproxy and its peers, side by side on loopback.",
        epilog="cases: " + "; ".join(f"{case.name}: {case.about}" for case in CASES.values()),
    )
    peers = os.environ.get("PEERS")
    here = Path(__file__).resolve().parent
    parser.add_argument("--cases", type=_names_of(CASES), default=list(CASES), metavar="A,B")
    parser.add_argument("--subjects", type=_names_of(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--rounds", type=_at_least_1, default=3, help="default: 3")
    parser.add_argument("--seconds", type=_at_least_1, default=4, help="of load; default: 4")
    parser.add_argument("--venv", type=Path, default=Path(sys.prefix), help="has txrproxy")
    parser.add_argument(
        "--peers", type=Path, default=Path(peers) if peers else None, metavar="VENV"
    )
    parser.add_argument("--name", type=_file_name, default="bench", help="of the results files")
    parser.add_argument("--results", type=Path, default=here / "results", metavar="FOLDER")
    parser.add_argument(
        "--profile",
        nargs="?",
        const=PRODUCT,
        choices=SUBJECTS,
        help="write where the time goes instead of measuring; default: txrproxy",
    )
    options = parser.parse_args(arguments)
    options.venv = options.venv.absolute()  # what is started has another working directory
    options.peers = options.peers.absolute() if options.peers else None
    if options.profile:
        options.subjects = [options.profile]
    return options


def _names_of(table: Mapping[str, object]) -> Any:
    def names(text: str) -> list[str]:
        chosen = text.split(",")
        unknown = [name for name in chosen if name not in table]
        if unknown:
            raise argparse.ArgumentTypeError(f"no {unknown[0]!r}; there are {', '.join(table)}")
        return chosen

    return names


def _at_least_1(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number above 0")
    return int(text)


def _file_name(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+", text):
        raise argparse.ArgumentTypeError("letters, digits, dots and dashes")
    return text


if __name__ == "__main__":
    sys.exit(main())
