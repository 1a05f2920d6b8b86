"""Holds what requirements.lock says against what is known of vulnerabilities, by pip-audit.

``python .ci/audit.py requirements.lock``, in an environment of its own: pip-audit is installed
there if it is not. Ends with 1 when something is known of a locked version. Where pip-audit or what
it asks can not be reached, that is said, and what is left is the lock: no file is installed but
those that were chosen when it was made.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

PATIENCE = 120  # seconds


def judge(output: str) -> tuple[list[str], int, int]:
    """Of what pip-audit prints: what is wrong, how many packages it knew, and how many not."""
    try:
        found: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return [], 0, 0
    wrong = [
        f"{one['name']} {one['version']}: {flaw['id']}"
        + (f", fixed in {', '.join(flaw['fix_versions'])}" if flaw.get("fix_versions") else "")
        for one in found
        for flaw in one.get("vulns", ())
    ]
    skipped = sum("skip_reason" in one for one in found)
    return wrong, len(found) - skipped, skipped


def main(lock: str) -> int:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
    words = ["--format=json", "--progress-spinner=off", "--require-hashes", "--disable-pip"]
    try:
        subprocess.run([*pip, "pip-audit"], check=True, capture_output=True, timeout=PATIENCE)
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *words, "-r", lock],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        print("audit: pip-audit can not be had here; what is left is the lock", file=sys.stderr)
        return 0
    wrong, known, skipped = judge(done.stdout)
    if wrong:
        print("audit: known vulnerabilities\n" + "\n".join(wrong), file=sys.stderr)
        return 1
    if not known:
        print("audit: pip-audit can not reach its data; what is left is the lock", file=sys.stderr)
        return 0
    print(f"audit: nothing known of {known} packages; {skipped} could not be looked up")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
