"""Which overrides of a study a launcher's command line means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from launchers.ledger import Ledger

SELECT = "select=["


def given_overrides(groups: Sequence[str], select: Iterable[str]) -> list[str]:
    """Overrides of the study from the command that Hydra is running.

    Args:
        groups: whose chosen files are handed on, with single values below them; single values of `paths` always are.
        select: further ones, as given; they come last and win.
    """
    from hydra.core.hydra_config import HydraConfig

    running = HydraConfig.get()
    chosen = [f"{group}={running.runtime.choices[group]}" for group in groups]
    values = [
        line for line in running.overrides.task if key_of(line).startswith(("paths.", *(f"{g}." for g in groups)))
    ]
    return [*chosen, *values, *select]


def recorded_overrides(ledger: Ledger, given: Sequence[str]) -> list[str]:
    """Overrides of the last launch, and what was given now in their place."""
    before = ledger.launches[-1].overrides if ledger.launches else ()
    now = {key_of(line) for line in given}
    return [*(line for line in before if key_of(line) not in now), *given]


def key_of(override: str) -> str:
    """Key of an override.

    Example:
        >>> key_of("+cluster.sbatch.exclude=n1")
        'cluster.sbatch.exclude'
    """
    return override.lstrip("+~").split("=")[0]


def translated(arguments: Sequence[str]) -> list[str]:
    """A launcher's command line as Hydra reads it: `--dry-run` a key, and the overrides in `select` quoted.

    Example:
        >>> translated(["study=a", "--dry-run", "select=[seeds=[0,1],metrics=null]"])
        ['study=a', 'dry_run=true', 'select=["seeds=[0,1]","metrics=null"]']
        >>> translated(['select=["seeds=[0]"]'])
        ['select=["seeds=[0]"]']
    """
    plain = ["dry_run=true" if argument == "--dry-run" else argument for argument in arguments]
    return [_quoted(argument) if argument.startswith(SELECT) else argument for argument in plain]


def _quoted(argument: str) -> str:
    inside = argument.removeprefix(SELECT).removesuffix("]")
    return SELECT + ",".join(_in_quotes(item) for item in _split(inside)) + "]"


def _in_quotes(item: str) -> str:
    """An override as a string of Hydra's grammar; one that is quoted already, or nothing, as it is."""
    if not item or item[0] in "\"'":
        return item
    return f"'{item}'" if '"' in item else f'"{item}"'


def _split(text: str) -> list[str]:
    """Parts between the commas that stand outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
