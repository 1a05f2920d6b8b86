"""Web application firewalls as the configuration names them: their rules, and their engines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from attrs import define, field, frozen

from txrproxy.config import schema
from txrproxy.config.problems import ConfigErrors, Finding, KeyPath, Problem, spell
from txrproxy.observe.formats import redactor
from txrproxy.routing.plan import Serve
from txrproxy.waf.audit import AuditFile, Masking
from txrproxy.waf.guard import Auditor, Sheet, firewall, to_error_log
from txrproxy.waf.launch import Unloadable, prove
from txrproxy.waf.memo import Verdicts
from txrproxy.waf.pool import Engines
from txrproxy.waf.rules import CRS, CoreRules, NoRules, RuleSet, Text, compose, find_crs

_PLACE = re.compile(r"Rules error\. File: ([^<].*?)\. Line: (\d+)\. Column: \d+\. (.*)")


def waf_of(config: schema.Config, route: schema.Route) -> schema.Waf | None:
    """What inspects the requests of a route, if anything does."""
    named = [config.policies[name].waf for name in route.use]
    last = next((waf for waf in reversed(named) if waf is not None), None)
    return None if last is None or last.mode == "off" else last


def rule_set(waf: schema.Waf) -> RuleSet:
    return RuleSet(waf.rules, waf.paranoia, waf.threshold, waf.exclude)


@frozen
class _Used:
    """The rule sets of a configuration, and the policy that asked first for each."""

    texts: dict[RuleSet, Text]
    policies: dict[RuleSet, str]
    crs: CoreRules | None


def conflicts(config: schema.Config) -> Iterator[Finding]:
    """Uses of a firewall that something else on the route rules out."""
    for index, route in enumerate(config.routes):
        if route.cache is not None and all(name in config.policies for name in route.use):
            waf = waf_of(config, route)
            if waf is not None and waf.responses != "off":
                message = "a firewall of the route inspects responses, which a cache would bypass"
                yield Finding(("routes", index, "cache"), message)


def _policies(config: schema.Config) -> Iterator[tuple[str, schema.Waf]]:
    for name, policy in config.policies.items():
        if policy.waf is not None and policy.waf.mode != "off":
            yield str(name), policy.waf


def _crs(config: schema.Config) -> CoreRules:
    folder = config.waf.crs
    return find_crs(folder if folder == "auto" else config.resolve(folder))


def rule_errors(config: schema.Config) -> Iterator[Finding]:
    """Rules for which a configuration is refused: they are loaded once, in a process for that."""
    wafs = dict(_policies(config))
    if wafs and find_spec("libmodsecurity") is None:
        for name in wafs:
            message = "the engine is not installed: pip install 'txrproxy[waf]'"
            yield Finding(("policies", name, "waf"), message)
        return
    crs: CoreRules | None = None
    if any(CRS in waf.rules for waf in wafs.values()):
        try:
            crs = _crs(config)
        except NoRules as error:
            yield Finding(("waf", "crs"), str(error))
            return
    texts: dict[RuleSet, Text] = {}
    places: dict[RuleSet, KeyPath] = {}
    for name, waf in wafs.items():
        path: KeyPath = ("policies", name, "waf", "rules")
        try:
            text = compose(rule_set(waf), crs, config.base)
        except NoRules as error:
            yield Finding((*path, waf.rules.index(error.about)), str(error))
        else:
            texts.setdefault(rule_set(waf), text)
            places.setdefault(rule_set(waf), path)
    while texts:
        try:
            prove([text.text for text in texts.values()])
            return
        except Unloadable as error:
            if error.index < 0:
                yield Finding(("waf",), str(error))
                return
            bad = list(texts)[error.index]
            yield Finding(places[bad], _located(str(error)))
            del texts[bad]


def _located(message: str) -> str:
    found = _PLACE.match(message)
    return f"{found[1]}:{found[2]}: {found[3]}" if found else message


def summary(config: schema.Config) -> Iterator[tuple[str, ...]]:
    """For each policy with a firewall: what it does, and by which rules."""
    for name, waf in _policies(config):
        wanted = rule_set(waf)
        try:
            crs = _crs(config) if CRS in waf.rules else None
            (count,) = prove([compose(wanted, crs, config.base).text])
        except (NoRules, Unloadable) as error:
            yield name, waf.mode, str(error)
            continue
        notes = [f"OWASP CRS {crs.version}"] if crs is not None else []
        notes += [rule for rule in waf.rules if rule != CRS]
        notes += [f"{count} rules", f"paranoia {waf.paranoia}", f"threshold {waf.threshold}"]
        if waf.exclude:
            notes.append("without " + " ".join(map(str, waf.exclude)))
        yield name, waf.mode, ", ".join(notes)


@define(eq=False)
class Firewalls:
    """The engines of a configuration, and what its routes need of them.

    Those of ``old`` stay in use, with what they remember, while nothing of theirs has changed.
    Raises :class:`ConfigErrors` for rules or an audit file that are not there.
    """

    config: schema.Config
    reactor: Any
    deadlines: Any
    wall: Callable[[], float]
    old: Firewalls | None = None
    engines: Engines | None = field(init=False, default=None)
    _sheets: dict[RuleSet, Sheet] = field(init=False, factory=dict)
    _auditor: Auditor = field(init=False)
    _audit: AuditFile | None = field(init=False, default=None)
    _identity: Any = field(init=False, default=None)
    _former: list[Firewalls] = field(init=False, factory=list)  # still in use by old exchanges

    def __attrs_post_init__(self) -> None:
        config, old = self.config, self.old
        self.old = None
        wafs = [waf for route in config.routes if (waf := waf_of(config, route)) is not None]
        sets = list(dict.fromkeys(map(rule_set, wafs)))
        masking = Masking(
            config.log.access.redact,
            redactor(config.log.access.redact) if config.log.access.redact else None,
        )
        write = self._open_audit(old) if sets else to_error_log
        self._auditor = Auditor(masking, write, self.wall)
        if old is not None:
            self._auditor.tally = old._auditor.tally
        if not sets:
            return
        try:
            crs = _crs(config) if any(CRS in one.rules for one in sets) else None
            texts = [compose(one, crs, config.base) for one in sets]
        except NoRules as error:
            place = spell(("waf", "crs") if error.about == CRS else ("policies",))
            raise ConfigErrors([Problem("", 0, place, str(error))]) from error
        engine = config.waf
        running = (engine.processes, engine.queue, engine.timeout, engine.memo)
        self._identity = (running, sets, [text.fingerprint for text in texts])
        if old is not None and old._identity == self._identity:
            self.engines, self._sheets = old.engines, old._sheets
            return
        self.engines = Engines(
            self.reactor,
            self.deadlines,
            [text.text for text in texts],
            processes=engine.processes,
            queue=engine.queue,
            timeout=engine.timeout,
        )
        for number, one in enumerate(sets):
            memo = Verdicts(engine.memo) if one.constant and engine.memo else None
            self._sheets[one] = Sheet(self.engines, number, memo)

    def _open_audit(self, old: Firewalls | None) -> Callable[[str], object]:
        path = self.config.waf.audit.path
        if not path:
            return to_error_log
        file = str(self.config.resolve(path))
        if old is not None and old._audit is not None and old._audit.path == file:
            self._audit = old._audit
            return self._audit.write
        try:
            self._audit = AuditFile(file)
        except OSError as error:
            message = f"cannot write {file}: {error.strerror}"
            raise ConfigErrors([Problem("", 0, "waf.audit.path", message)]) from error
        return self._audit.write

    def before(self, route: schema.Route, serve: Serve) -> Serve:
        """What the route does, with an inspection before it if its policies ask for one."""
        waf = waf_of(self.config, route)
        if waf is None:
            return serve
        engine = self.config.waf
        return firewall(
            self._sheets[rule_set(waf)],
            self._auditor,
            blocks=waf.mode == "block",
            closed=engine.on_failure == "closed",
            limit=engine.body,
            responses=waf.responses,
            next=serve,
        )

    def counted(self) -> Iterator[tuple[str, tuple[str, ...], int]]:
        """What has been counted since the last time: metrics, labels, numbers."""
        tally = self._auditor.tally
        while tally:
            (name, labels), number = tally.popitem()
            yield name, labels, number

    def start(self) -> None:
        if self.engines is not None:
            self.engines.start()

    def take_over(self, old: Firewalls) -> Callable[[], None] | None:
        """Begin in the place of another; what to call when its exchanges have had their time."""
        if self.engines is not old.engines:
            self.start()
        self._former = former = old._former
        if old.engines is None:
            return None
        former.append(old)

        def end() -> None:
            former.remove(old)
            self._end(old)

        return end

    def _end(self, old: Firewalls) -> None:
        if old.engines is not None and old.engines is not self.engines:
            old.engines.close()
        if old._audit is not None and old._audit is not self._audit:
            old._audit.close()

    def reopen(self) -> None:
        """Open the audit file again: it was moved away. Raises OSError, and keeps the old file."""
        if self._audit is not None:
            self._audit.reopen()

    def close(self) -> None:
        """End the engines, former ones too."""
        for old in self._former:
            self._end(old)
        if self.engines is not None:
            self.engines.close()
        if self._audit is not None:
            self._audit.close()
