"""Which rules a request is held against: a text for ModSecurity, put together from settings.

The text is ours at the beginning and at the end; between them it includes the files of the OWASP
Core Rule Set (CRS) and of the configuration, so that an error in one names its file and line::

    engine settings ─ rules for bodies ─ CRS setup ─ paranoia, threshold ─ CRS ─ own ─ exclusions

Left out of the CRS are the files of :data:`LEFT_OUT`: they look addresses up in databases that the
engine was built without, or in the DNS, where each look-up would hold up everyone. Addresses are
the business of the policies' ``allow``, ``deny`` and ``rate_limit``.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import field, frozen

CRS = "crs"
"""What stands for the core rule set in a list of rules."""

LEFT_OUT = ("-910-", "-912-")
"""Parts of the names of CRS files that are not loaded: IP reputation, and DoS by counting."""

# Where a system's package has its rules, and the setup file that an administrator edits.
SYSTEM = (
    ("/usr/share/modsecurity-crs", "/etc/modsecurity/crs"),  # Debian, Ubuntu
    ("/usr/share/coreruleset", "/etc/coreruleset"),
)

# Rules of ours, in a range that nobody has reserved.
BAD_BODY = 29_000_001
TOO_MANY_ARGUMENTS = 29_000_002
LIMIT_EXCEEDED = 29_000_003
BAD_MULTIPART = 29_000_004
UNREADABLE = frozenset({BAD_BODY, TOO_MANY_ARGUMENTS, LIMIT_EXCEEDED, BAD_MULTIPART})
"""What matches where the engine could not look at all of a request: blocked, whatever its score."""
CUT = frozenset({BAD_BODY, BAD_MULTIPART})
"""Those that a body matches also because only its beginning is inspected."""

HINT = "X-Txrproxy-Body"
"""A field that the engine adds: how to take a body apart of which the client does not say."""

MAX_ARGUMENTS = 1000

_VERSION = re.compile(r"OWASP_CRS/(\d+(?:\.\d+)*)")

_BEGINNING = rf"""
SecRuleEngine On
SecAuditEngine Off
SecRequestBodyAccess On
SecRequestBodyLimit 134217728
SecRequestBodyNoFilesLimit 134217728
SecRequestBodyLimitAction ProcessPartial
SecRequestBodyJsonDepthLimit 64
SecArgumentsLimit {MAX_ARGUMENTS}
SecXmlExternalEntity Off
SecResponseBodyAccess On
SecResponseBodyLimit 134217728
SecResponseBodyLimitAction ProcessPartial
SecResponseBodyMimeType text/plain text/html text/xml application/json application/xml
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\+|/)|text/)xml" \
    "id:29000011,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "^application/(?:[a-z0-9.-]+\+)?json" \
    "id:29000012,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule &REQUEST_HEADERS:Content-Type "@eq 0" "id:29000013,phase:1,t:none,pass,nolog,chain"
    SecRule REQUEST_HEADERS:{HINT} "@streq form" "t:none,ctl:requestBodyProcessor=URLENCODED"
SecRule &REQUEST_HEADERS:Content-Type "@eq 0" "id:29000014,phase:1,t:none,pass,nolog,chain"
    SecRule REQUEST_HEADERS:{HINT} "@streq json" "t:none,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" \
    "id:{BAD_BODY},phase:2,t:none,pass,log,severity:2,\
    msg:'The body is not what its Content-Type says',logdata:'%{{REQBODY_ERROR_MSG}}'"
SecRule &ARGS "@ge {MAX_ARGUMENTS}" \
    "id:{TOO_MANY_ARGUMENTS},phase:2,t:none,pass,log,severity:2,\
    msg:'More arguments than are inspected'"
SecRule TX:/^MSC_/ "!@streq 0" \
    "id:{LIMIT_EXCEEDED},phase:2,t:none,pass,log,severity:2,msg:'A limit of the engine was met'"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" \
    "id:{BAD_MULTIPART},phase:2,t:none,pass,log,severity:2,\
    msg:'The multipart body is malformed'"
"""

# The CRS names its settings in two ways: version 3 and version 4. What the setup file says of
# methods holds; without it the methods of HTTP APIs are as good as those of forms.
_SETTINGS = r"""
SecAction "id:29000021,phase:1,t:none,pass,nolog,\
    setvar:tx.paranoia_level={paranoia},\
    setvar:tx.blocking_paranoia_level={paranoia},\
    setvar:tx.detection_paranoia_level={paranoia},\
    setvar:tx.inbound_anomaly_score_threshold={threshold},\
    setvar:tx.outbound_anomaly_score_threshold={threshold}"
SecRule &TX:allowed_methods "@eq 0" "id:29000022,phase:1,t:none,pass,nolog,\
    setvar:'tx.allowed_methods=GET HEAD POST OPTIONS PUT PATCH DELETE'"
"""


# Version 3 of the CRS looks at what stands between the tags of XML, and not at attributes. As they
# are URLs more often than not, rules for those and for names of uploaded files stay away from them.
_ATTRIBUTES = "\n".join(
    f'SecRuleUpdateTargetByTag "attack-{kind}" "XML://@*"'
    for kind in ("sqli", "xss", "rce", "lfi", "injection-php", "injection-java")
) + "".join(f'\nSecRuleUpdateTargetById {rule} "!XML://@*"' for rule in (932180, 933110, 933111))


class NoRules(Exception):
    """Rules that are not there. ``about`` is "crs", or the file that is missing."""

    def __init__(self, about: str, message: str) -> None:
        super().__init__(message)
        self.about = about


@frozen
class CoreRules:
    """A copy of the CRS: its setup file, its rules in the order of loading, and their data."""

    setup: Path
    files: tuple[Path, ...]
    data: tuple[Path, ...]
    version: str


@frozen
class RuleSet:
    """All that decides about a request. ``rules`` holds :data:`CRS` and names of files; ``exclude``
    ids, ranges of ids (``"942100-942999"``) and tags of rules that do not count."""

    rules: tuple[str, ...]
    paranoia: int
    threshold: int
    exclude: tuple[int | str, ...] = field(default=())

    @property
    def constant(self) -> bool:
        """Whether the same request always gets the same verdict. The CRS promises that; own files
        may count, or look at the time."""
        return self.rules == (CRS,)


def find_crs(folder: str | Path, system: Iterable[tuple[str, str]] = SYSTEM) -> CoreRules:
    """The CRS in ``folder``, or where the system has it for ``"auto"``. Raises :class:`NoRules`.

    A folder is laid out as the CRS is distributed: ``rules/*.conf`` and ``crs-setup.conf``, or
    ``crs-setup.conf.example``.
    """
    if str(folder) == "auto":
        places = [(Path(rules), Path(setup)) for rules, setup in system]
    else:
        places = [(Path(folder), Path(folder))]
        places += [(Path(rules), Path(setup)) for rules, setup in system if folder == Path(rules)]
    for rules, setups in places:
        for name in ("crs-setup.conf", "crs-setup.conf.example"):
            setup = setups / name
            files = sorted((rules / "rules").glob("*.conf"))
            if files and setup.is_file():
                around = [*sorted(setups.glob("REQUEST-900-*.conf")), *files]
                around += sorted(setups.glob("RESPONSE-999-*.conf"))
                kept = [file for file in around if not any(p in file.name for p in LEFT_OUT)]
                data = sorted((rules / "rules").glob("*.data"))
                return CoreRules(setup, tuple(kept), tuple(data), _version(files))
    where = " or ".join(str(rules) for rules, _ in places)
    raise NoRules(
        CRS,
        f"no OWASP core rule set at {where} (rules/*.conf and crs-setup.conf): install the "
        "system's package (modsecurity-crs), or name its folder in waf.crs",
    )


def _version(files: Iterable[Path]) -> str:
    """What most of the rules say: an old file may be among them."""
    said: Counter[str] = Counter()
    for file in files:
        said.update(_VERSION.findall(file.read_text(encoding="utf-8", errors="replace")))
    return said.most_common(1)[0][0] if said else "unknown"


@frozen
class Text:
    """The text of a rule set, and all files that it reads."""

    text: str
    files: tuple[Path, ...]

    @property
    def fingerprint(self) -> bytes:
        """Another one when the text is another, or one of its files was written."""
        digest = hashlib.sha256(self.text.encode())
        for file in self.files:
            try:
                seen = file.stat()
            except OSError:
                continue
            digest.update(f"{file} {seen.st_mtime_ns} {seen.st_size} {seen.st_ino}\n".encode())
        return digest.digest()


def compose(rule_set: RuleSet, crs: CoreRules | None, base: Path) -> Text:
    """The text for a rule set. Own files are relative to ``base``. Raises :class:`NoRules`.

    ``crs`` is there if the rule set asks for it.
    """
    files: list[Path] = []
    parts = [_BEGINNING]
    settings = _SETTINGS.format(paranoia=rule_set.paranoia, threshold=rule_set.threshold)
    if CRS in rule_set.rules:
        assert crs is not None
        files += [crs.setup, *crs.files, *crs.data]
        parts += [_include(crs.setup), settings, *map(_include, crs.files)]
        if crs.version.startswith("3."):
            parts.append(_ATTRIBUTES)
    for name in rule_set.rules:
        if name != CRS:
            file = base / name
            if not file.is_file():
                raise NoRules(name, f"there is no file {file}")
            files.append(file)
            parts.append(_include(file))
    parts += _exclusions(rule_set.exclude)
    return Text("\n".join(parts) + "\n", tuple(files))


def _include(file: Path) -> str:
    return f'Include "{file}"'


def _exclusions(exclude: Iterable[int | str]) -> Iterator[str]:
    for one in exclude:
        by_id = isinstance(one, int) or one[0].isdigit()
        yield f"SecRuleRemoveBy{'Id' if by_id else 'Tag'} {one}"
