"""How an engine is started, and asked once whether rules load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import txrproxy
from txrproxy.waf.wire import BadMessage, Messages, pack

_ROOT = str(Path(txrproxy.__file__).parent.parent)

# The engine is found where we were found, and never in the working directory.
COMMAND = (
    sys.executable,
    "-P",
    "-c",
    f"import sys; sys.path.insert(0, {_ROOT!r}); from txrproxy.waf.engine import main; main()",
)

PATIENCE = 60.0  # seconds for all rules to load

# What Python and shared libraries are found by. Secrets of the configuration can be variables.
_PASSED = frozenset({b"HOME", b"LANG", b"PATH", b"TMPDIR", b"TZ", b"VIRTUAL_ENV"})
_PASSED_KINDS = (b"DYLD_", b"LC_", b"LD_", b"PYTHON")


def environment() -> dict[bytes, bytes]:
    """The variables that an engine gets, of those of this process."""
    return {
        name: value
        for name, value in os.environb.items()
        if name in _PASSED or name.startswith(_PASSED_KINDS)
    }


class Unloadable(Exception):
    """Rules do not load. ``index`` is the place of the text, -1 if it is the engine itself."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


def prove(texts: Sequence[str]) -> list[int]:
    """Load texts in an engine and forget it: the number of rules in each.

    Waits for it, so this is for before anything is served. Raises :class:`Unloadable`.
    """
    message = pack([b"rules", *(text.encode() for text in texts)])
    try:
        done = subprocess.run(
            COMMAND,
            input=message,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            env=environment(),
        )
        kind, body = next(Messages().feed(done.stdout), (b"", b""))
    except subprocess.TimeoutExpired as error:
        raise Unloadable(-1, f"the rules do not load within {PATIENCE:.0f} s") from error
    except (OSError, BadMessage, ValueError) as error:
        raise Unloadable(-1, f"the engine can not be started: {error}") from error
    if kind == b"ready":
        counts: list[int] = json.loads(body)
        return counts
    if kind == b"failed":
        raise Unloadable(*json.loads(body))
    said = done.stderr.decode("utf-8", "backslashreplace").strip().splitlines()
    raise Unloadable(-1, f"the engine died over the rules: {said[-1] if said else done.returncode}")
