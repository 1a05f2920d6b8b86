"""``txrproxy completion``: scripts by which shells complete the command.

They are made from the command line itself (``argparse``), so that they know what this version
knows. Nothing of Python runs while somebody types: a script holds the words. A dependency that does
this would be one for three short templates.
"""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from typing import Any

from attrs import frozen

_HELP = """\
To have it in a new shell:

  bash   txrproxy completion bash > ~/.local/share/bash-completion/completions/txrproxy
  zsh    txrproxy completion zsh > a folder of $fpath, as _txrproxy
  fish   txrproxy completion fish > ~/.config/fish/completions/txrproxy.fish
"""


def add_commands(commands: Any) -> None:
    """Add ``completion`` to the commands of ``argparse``, all of which it completes."""
    parser = commands.add_parser(
        "completion",
        help="print a script by which a shell completes this command",
        description="Prints a script by which a shell completes this command.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(run=partial(_completion, commands))


def _completion(commands: Any, options: Namespace) -> int:
    makers = {"bash": bash, "zsh": zsh, "fish": fish}
    print(makers[options.shell](list(levels(commands))), end="")
    return 0


@frozen
class Level:
    """What may follow some words of a command line: commands and options, each with its help."""

    path: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]
    options: tuple[tuple[str, str], ...]

    @property
    def words(self) -> str:
        return " ".join(name for name, _ in (*self.commands, *self.options))


def levels(commands: Any, path: tuple[str, ...] = ()) -> Iterator[Level]:
    """Everything below the commands that were added to an ``argparse`` parser."""
    helps = {action.dest: action.help or "" for action in commands._choices_actions}
    names = tuple((name, helps.get(name, "")) for name in commands.choices)
    options = (("--help", "show this help"),)
    yield Level(path, names, options)
    for name, parser in commands.choices.items():
        below = (*path, name)
        inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        if inner:
            yield from levels(inner[0], below)
            continue
        found = []
        words = []
        for action in parser._actions:
            long = [option for option in action.option_strings if option.startswith("--")]
            found += [(option, action.help or "") for option in long]
            if not action.option_strings and action.choices:
                words += [(str(choice), "") for choice in action.choices]
        yield Level(below, tuple(words), tuple(found))


def _cases(found: list[Level], form: str) -> str:
    return "".join(
        f"        '{'/'.join(('', *level.path))}') {form.format(level.words)} ;;\n"
        for level in found
    )


def _known(found: list[Level]) -> str:
    return "|".join(f"'/{'/'.join(level.path)}'" for level in found if level.path)


def bash(found: list[Level]) -> str:
    """The script for bash."""
    return f"""\
_txrproxy() {{
    local at='' word words=''
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$at/$word" in {_known(found)}) at="$at/$word" ;; esac
    done
    case "$at" in
{_cases(found, "words='{}'")}    esac
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _txrproxy txrproxy
"""


def zsh(found: list[Level]) -> str:
    """The script for zsh."""
    return f"""\
#compdef txrproxy
_txrproxy() {{
    local at='' word
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        case "$at/$word" in {_known(found)}) at="$at/$word" ;; esac
    done
    case "$at" in
{_cases(found, "compadd -- {}")}    esac
    [[ "$words[CURRENT]" == -* ]] || _files
}}
if [[ "$funcstack[1]" == _txrproxy ]]; then _txrproxy "$@"; else compdef _txrproxy txrproxy; fi
"""


def fish(found: list[Level]) -> str:
    """The script for fish."""
    lines = []
    for level in found:
        seen = [f"__fish_seen_subcommand_from {word}" for word in level.path]
        if level.commands:
            names = " ".join(name for name, _ in level.commands)
            here = "; and ".join([*seen, f"not __fish_seen_subcommand_from {names}"])
            lines += [
                f"complete -c txrproxy -n '{here}' -a {name}{_described(help)}"
                for name, help in level.commands
            ]
        if seen:
            here = "; and ".join(seen)
            lines += [
                f"complete -c txrproxy -n '{here}' -l {name[2:]}{_described(help)}"
                for name, help in level.options
            ]
    return "\n".join([*lines, ""])


def _described(help: str) -> str:
    escaped = help.replace("\\", "\\\\").replace("'", "\\'")
    return f" -d '{escaped}'" if help else ""
