"""Static completion scripts for bash, zsh and fish.

Everything a script offers is written into it: commands, flags, and the words a flag
takes. Completing runs no Python, so that the first answer comes at once; after an
update the script is printed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from cyclopts import App

from engine.errors import UsageError, did_you_mean

SHELLS = ("bash", "zsh", "fish")
FILES = "<files>"
"""In place of words: names of files."""
_FILE_FLAGS = ("--prices", "--exposures", "--shock", "--candidates")
"""Text that may name a file."""


class Command(NamedTuple):
    """What can follow a command."""

    commands: Mapping[str, str]
    """Its own commands, with the first sentence of their help."""
    flags: Mapping[str, tuple[str, ...] | None]
    """Words by flag: None takes no value, () one that cannot be offered."""
    words: tuple[str, ...]
    """Words or files in place of its arguments."""


def choices() -> dict[str, tuple[str, ...]]:
    """Words by flag, as the library states them."""
    from backtests import rulebook
    from engine.covariance._named import names
    from engine.risk import MODELS
    from engine.shocks import library
    from engine.shocks.chain import ALL_PRESETS
    from strategies.schedules import SCHEDULES

    estimators = names()
    basis = ("raw", "split_adjusted", "total_return")
    return {
        "--preset": tuple(ALL_PRESETS),
        "--strategy": rulebook.names(),
        "--replay": tuple(library()),
        "--shock": ("cheap-model", FILES),
        "--shock-horizon": ("day", "next_day", "month", "persistent"),
        "--prices": ("reference", FILES),
        "--price-basis": basis,
        "--as-basis": basis,
        "--dividend-basis": ("as_paid", "split_adjusted"),
        "--exposures": ("builtin", FILES),
        "--covariance": estimators,
        "--estimators": estimators,
        "--baseline": estimators,
        "--models": tuple(MODELS),
        "--funds": ("estimated", "bands"),
        "--schedule": SCHEDULES,
        "--executor": ("serial", "processes"),
        "--provider": ("yahoo", "reference"),
        "--rank-by": (
            "log_likelihood",
            "t_log_likelihood",
            "variance_qlike",
            "min_variance",
        ),
        "--mean": ("zero", "sample"),
        "--missing": ("raise", "exclude"),
    }


def _arguments() -> dict[str, tuple[str, ...]]:
    """Words of the arguments that are no files, by command."""
    from backtests.cli.documents import FIELDS
    from engine.shocks import library

    return {
        "shocks replay": tuple(library()),
        "completion": SHELLS,
        "schema": tuple(FIELDS),
    }


def tree(app: App) -> dict[str, Command]:
    """Everything that can be typed, by the path of commands, such as "data pull"."""
    found: dict[str, Command] = {}
    words, arguments = choices(), _arguments()

    def visit(node: App, path: tuple[str, ...]) -> None:
        commands = {n: node[n] for n in node if not n.startswith("-")}
        flags: dict[str, tuple[str, ...] | None] = {"--help": None}
        if not path:
            flags["--version"] = None
        takes: tuple[str, ...] = ()
        if node.default_command is not None:
            for argument in node.assemble_argument_collection():
                if argument.names == ("*",) or not argument.parse:
                    continue
                for name in argument.names:
                    if name.startswith("--"):
                        flags[name] = _words(name, argument.hint, words)
                    elif _is(argument.hint, Path):
                        takes = (FILES,)
        text = " ".join(path)
        found[text] = Command(
            {n: _sentence(c.help) for n, c in commands.items()},
            flags,
            arguments.get(text, takes),
        )
        for name, child in commands.items():
            visit(child, (*path, name))

    visit(app, ())
    return found


def _words(
    name: str, hint: Any, known: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...] | None:
    if _is(hint, bool):
        return None
    if name in known:
        return known[name]
    return (FILES,) if _is(hint, Path) or name in _FILE_FLAGS else ()


def _is(hint: Any, kind: type) -> bool:
    return hint is kind or kind in get_args(hint)


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def script(shell: str, app: App) -> str:
    """The completion script of a shell.

    Raises
    ------
    UsageError
        Another shell than bash, zsh or fish.
    """
    if shell not in SHELLS:
        raise UsageError(
            "no completion for this shell",
            received=repr(shell),
            expected=", ".join(SHELLS),
            fix=did_you_mean(shell, SHELLS),
        )
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](tree(app))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _cases(found: Mapping[str, Command]) -> list[str]:
    """Shell functions that bash and zsh share: what may follow a path or a flag."""
    lines = ["_ballast_commands() {", '  case "$1" in']
    for path, command in found.items():
        if command.commands:
            lines.append(f"    {_quoted(path)}) echo {' '.join(command.commands)};;")
    lines += ["  esac", "}", "_ballast_flags() {", '  case "$1" in']
    for path, command in found.items():
        lines.append(f"    {_quoted(path)}) echo {' '.join(command.flags)};;")
    lines += ["  esac", "}", "_ballast_arguments() {", '  case "$1" in']
    for path, command in found.items():
        if command.words:
            offered = _quoted(" ".join(command.words))
            lines.append(f"    {_quoted(path)}) echo {offered};;")
    lines += ["  esac", "}", "_ballast_values() {", '  case "$1" in']
    values: dict[str, tuple[str, ...] | None] = {}
    for command in found.values():
        values |= command.flags
    for name, words in values.items():
        if words is not None:
            lines.append(f"    {name}) echo {_quoted(' '.join(words))};;")
    return [*lines, "    *) return 1;;", "  esac", "}"]


_WALK = """\
  local path="" word="" expecting=0 i
  for ((i = FIRST + 1; i < CURRENT_INDEX; i++)); do
    word="${WORDS[i]}"
    if ((expecting)); then expecting=0; continue; fi
    case "$word" in
      --*=*) ;;
      -*) _ballast_values "$word" >/dev/null && expecting=1;;
      *) case " $(_ballast_commands "$path") " in
           *" $word "*) path="${path:+$path }$word";;
         esac;;
    esac
  done
"""


def _bash(found: Mapping[str, Command]) -> str:
    walk = _WALK.replace("FIRST", "0").replace("CURRENT_INDEX", "COMP_CWORD")
    walk = walk.replace("WORDS[i]", "COMP_WORDS[i]")
    body = f"""\
_ballast() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" offered files=0
  local prev="${{COMP_WORDS[COMP_CWORD-1]}}"
  # bash splits at "=": --preset=jev comes as three words.
  if [[ "$cur" == "=" ]]; then cur=""
  elif [[ "$prev" == "=" ]]; then prev="${{COMP_WORDS[COMP_CWORD-2]}}"; fi
{walk}\
  if [[ "$prev" == -* ]] && offered="$(_ballast_values "$prev")"; then :
  elif [[ "$cur" == -* ]]; then offered="$(_ballast_flags "$path")"
  else
    offered="$(_ballast_commands "$path") $(_ballast_arguments "$path")"
  fi
  case " $offered " in *" {FILES} "*) files=1; offered="${{offered//{FILES}/}}";; esac
  COMPREPLY=($(compgen -W "$offered" -- "$cur"))
  if ((files)); then
    compopt -o filenames 2>/dev/null
    local IFS=$'\\n'
    COMPREPLY+=($(compgen -f -- "$cur"))
  fi
}}
complete -F _ballast ballast
"""
    head = "# bash completion of ballast; written by: ballast completion bash"
    return "\n".join([head, *_cases(found), body])


def _zsh(found: Mapping[str, Command]) -> str:
    walk = _WALK.replace("FIRST", "1").replace("CURRENT_INDEX", "CURRENT")
    walk = walk.replace("WORDS[i]", "words[i]").replace("path", "typed")
    body = f"""\
_ballast() {{
  emulate -L zsh
  local cur="${{words[CURRENT]}}" prev="${{words[CURRENT-1]}}" offered
{walk}\
  if [[ "$cur" == --*=* ]]; then
    prev="${{cur%%=*}}"; compset -P '*='
    offered="$(_ballast_values "$prev")"
  elif [[ "$prev" == -* ]] && offered="$(_ballast_values "$prev")"; then :
  elif [[ "$cur" == -* ]]; then offered="$(_ballast_flags "$typed")"
  else
    offered="$(_ballast_commands "$typed") $(_ballast_arguments "$typed")"
  fi
  local -a choices=(${{=offered}})
  if (( ${{choices[(Ie){FILES}]}} )); then
    choices=(${{choices:#{FILES}}})
    _files
  fi
  (( $#choices )) && compadd -a choices
}}
if [[ "$funcstack[1]" == _ballast ]]; then _ballast "$@"
else compdef _ballast ballast; fi
"""
    return "\n".join(["#compdef ballast", *_cases(found), body])


def _fish(found: Mapping[str, Command]) -> str:
    lines = [
        "# fish completion of ballast; written by: ballast completion fish",
        "complete -c ballast -f",
    ]
    for path, command in found.items():
        steps = path.split()
        seen = [f"__fish_seen_subcommand_from {s}" for s in steps]
        if not steps:
            seen = ["__fish_use_subcommand"]
        elif command.commands:
            inner = " ".join(command.commands)
            seen.append(f"not __fish_seen_subcommand_from {inner}")
        where = f"complete -c ballast -n {_quoted('; and '.join(seen))}"
        for name, text in command.commands.items():
            lines.append(f"{where} -a {name} -d {_quoted(text)}")
        for name, words in command.flags.items():
            line = f"{where} -l {name.removeprefix('--')}"
            if words is not None:
                line += " -r" + (" -F" if FILES in words else "")
                shown = " ".join(w for w in words if w != FILES)
                line += f" -a {_quoted(shown)}" if shown else ""
            lines.append(line)
        if command.words:
            shown = " ".join(w for w in command.words if w != FILES)
            lines.append(where + (f" -a {_quoted(shown)}" if shown else " -F"))
    return "\n".join(lines) + "\n"
