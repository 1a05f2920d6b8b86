"""A few rules of our own, so that the engine is tested without the core rule set.

They score as the core rule set does, and end a request at five points.
"""

from __future__ import annotations

from pathlib import Path

RULES = r"""
SecRule ARGS|REQUEST_HEADERS:User-Agent "@contains evil" \
    "id:101,phase:2,pass,log,severity:2,tag:'attack-test',tag:'other',\
    msg:'Something evil',logdata:'%{MATCHED_VAR}',setvar:tx.score=+5"
SecRule ARGS "@contains odd" "id:102,phase:2,pass,log,severity:4,msg:'Odd',setvar:tx.score=+3"
SecRule TX:SCORE "@ge 5" "id:949110,phase:2,deny,status:403,log,\
    msg:'Too much (Total Score: %{TX.SCORE})'"
SecRule RESPONSE_HEADERS:X-Leak "@contains secret" \
    "id:201,phase:3,deny,log,severity:2,msg:'A leak in a field'"
SecRule RESPONSE_BODY "@contains stack trace" \
    "id:202,phase:4,deny,log,severity:2,msg:'A leak in a body'"
"""


def write(folder: Path) -> Path:
    """The rules as a file in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "own.conf"
    file.write_text(RULES)
    return file
