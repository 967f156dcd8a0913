"""Versions of the code that asks and reads: a number that moves only when what it names has changed."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import o3v
from o3v.benchmarks.records import Versions

_ROOT = Path(o3v.__file__).parent
_MACHINERY = frozenset({"records", "runner", "report", "statistics", "exam", "versions", "shards", "ask", "trivial"})
"""Modules of o3v.benchmarks that neither make prompts nor read answers."""


def versions_of(benchmark: object, definition: str) -> Versions:
    """Versions of a benchmark's prompts and parsers: digests of the source behind them, comments aside.

    The prompt's digest is over the benchmark's own module (package) and o3v.prompts, the parser's over the benchmark's
    and o3v.grounding, each with what they import of o3v.benchmarks. A change of layout or of a docstring moves neither.

    Args:
        benchmark: an object whose class lives in o3v.benchmarks, or a project's own.
        definition: `corrected` or `reference`.
    """
    own = type(benchmark).__module__
    return Versions(code_version((own, "o3v.prompts")), code_version((own, "o3v.grounding")), definition)


@cache
def code_version(modules: tuple[str, ...]) -> str:
    """Digest of modules and packages of o3v, and of the modules of o3v.benchmarks that they use; 8 hex characters.

    >>> code_version(("o3v.grounding",)) == code_version(("o3v.grounding",)) != code_version(("o3v.prompts",))
    True
    """
    digest = hashlib.sha1(usedforsecurity=False)
    for path in sorted(_closure(modules)):
        digest.update(f"{path.relative_to(_ROOT)}\n{_plain(path)}\n".encode())
    return digest.hexdigest()[:8]


def _closure(modules: Iterable[str]) -> set[Path]:
    """Source files of the modules, and of what they import of o3v.benchmarks."""
    found: set[Path] = set()
    left = [path for module in modules for path in _files(module)]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += [used for name in _imports(path) for used in _files(name)]
    return found


def _files(module: str) -> list[Path]:
    """A module's file, or the files of the package that it is or belongs to below o3v.benchmarks."""
    parts = module.split(".")
    if parts[0] != "o3v" or len(parts) < 2:
        return []
    place = _ROOT.joinpath(*parts[1:])
    if parts[1] == "benchmarks" and len(parts) > 3:
        place = _ROOT.joinpath(*parts[1:3])
    if place.is_dir():
        return list(place.rglob("*.py"))
    return [place.with_suffix(".py")] if place.with_suffix(".py").is_file() else []


def _imports(path: Path) -> Iterator[str]:
    """Names of the modules of o3v.benchmarks that a file imports, machinery aside."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for name in names:
            parts = name.split(".")
            if parts[:2] == ["o3v", "benchmarks"] and len(parts) > 2 and parts[2] not in _MACHINERY:
                yield name


def _plain(path: Path) -> str:
    """Source without comments, layout and docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [item for item in body if not _is_text(item)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
