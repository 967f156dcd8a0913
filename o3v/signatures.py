"""Constructor arguments of a configured class, read from its source text without importing it.

A class named by `_target_` may sit in a module that takes seconds to import (torch, lightning). Its signature is
needed earlier, to reject a misspelt key at once. So the module's file is found on the import path and parsed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Signature:
    """What a call accepts.

    Attributes:
        arguments: name -> annotation as written, "" where there is none.
        open: True if any other keyword is accepted too (`**kwargs`).
    """

    arguments: Mapping[str, str]
    open: bool


@cache
def signature_of(target: str) -> Signature | None:
    """Signature of the class or function at a dotted path.

    Args:
        target: as in `_target_`, for example `o3v.rewards.mix.RewardMix`.

    Returns:
        The signature, or None where the source does not tell (a builtin, a star import, an unknown base class). A
        path that does not exist is also None; importing it later says so.

    Example:
        >>> list(signature_of("fractions.Fraction").arguments)
        ['numerator', 'denominator', '_normalize']
        >>> dict(signature_of("o3v.types.BoxScale").arguments)
        {'width': 'float', 'height': 'float'}
    """
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        if _spec(".".join(parts[:cut])) is not None:
            return _member_signature(".".join(parts[:cut]), parts[cut:], depth=0)
    return None


def choices_in(annotation: str) -> tuple[object, ...] | None:
    """Values of a `Literal[...]` annotation, None for another annotation.

    Example:
        >>> choices_in("Literal['mean', 'sum']")
        ('mean', 'sum')
    """
    node = _parse_annotation(annotation)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if all(isinstance(item, ast.Constant) for item in items):
            return tuple(item.value for item in items if isinstance(item, ast.Constant))
    return None


def simple_types_in(annotation: str) -> frozenset[str] | None:
    """Names among int, float, bool, str and None that an annotation allows; None if it says anything else.

    Example:
        >>> sorted(simple_types_in("int | None"))
        ['None', 'int']
        >>> simple_types_in("Mapping[str, float]") is None
        True
    """
    node = _parse_annotation(annotation)
    names = [] if node is None else _union_names(node)
    return frozenset(names) if names and set(names) <= {"int", "float", "bool", "str", "None"} else None


def _parse_annotation(annotation: str) -> ast.expr | None:
    try:
        return ast.parse(annotation, mode="eval").body
    except SyntaxError:
        return None


def _union_names(node: ast.expr) -> list[str]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union_names(node.left) + _union_names(node.right)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        inner = [name for item in items for name in _union_names(item)]
        return {"Optional": [*inner, "None"], "Union": inner}.get(node.value.id, ["?"])
    if isinstance(node, ast.Constant):
        return ["None"] if node.value is None else ["?"]
    return [node.id] if isinstance(node, ast.Name) else ["?"]


@cache
def _spec(module: str) -> ModuleSpec | None:
    """Where a module is, without importing its parents."""
    path: list[str] | None = None
    spec = None
    names = module.split(".")
    for count in range(1, len(names) + 1):
        spec = PathFinder.find_spec(".".join(names[:count]), path)
        spec = spec or (_spec_by_finders(names[0]) if count == 1 else None)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    return spec


def _spec_by_finders(package: str) -> ModuleSpec | None:
    """As `_spec` for a top-level package of an editable install, which only a finder of its own knows."""
    for finder in sys.meta_path:
        spec = finder.find_spec(package, None, None)
        if spec is not None:
            return spec
    return None


@cache
def _tree(module: str) -> ast.Module | None:
    spec = _spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _member_signature(module: str, names: list[str], depth: int) -> Signature | None:
    """Signature of `names` inside a module; imports are followed, at most ten of them."""
    tree = _tree(module)
    if tree is None or depth > 10:
        return None
    body: list[ast.stmt] = tree.body
    for position, name in enumerate(names):
        found = _find(body, name)
        if isinstance(found, ast.ImportFrom):
            origin = _origin(module, found)
            actual = next(alias.name for alias in found.names if (alias.asname or alias.name) == name)
            return _member_signature(origin, [actual, *names[position + 1 :]], depth + 1)
        if not isinstance(found, ast.ClassDef | ast.FunctionDef):
            return None
        if position == len(names) - 1:
            return _signature(found, module, depth)
        body = found.body
    return None


def _find(body: list[ast.stmt], name: str) -> ast.stmt | None:
    """The statement of a body that defines a name as a class, function or `from` import; the last one counts."""
    for statement in reversed(body):
        if isinstance(statement, ast.ClassDef | ast.FunctionDef) and statement.name == name:
            return statement
        if isinstance(statement, ast.ImportFrom) and name in [alias.asname or alias.name for alias in statement.names]:
            return statement
    return None


def _origin(module: str, statement: ast.ImportFrom) -> str:
    """Absolute name of the module that a `from` statement reads."""
    if statement.level == 0:
        return statement.module or ""
    spec = _spec(module)
    is_package = spec is not None and spec.submodule_search_locations is not None
    parents = module.split(".")
    kept = parents[: len(parents) - statement.level + (1 if is_package else 0)]
    return ".".join([*kept, *([statement.module] if statement.module else [])])


def _signature(node: Definition, module: str, depth: int) -> Signature | None:
    if isinstance(node, ast.FunctionDef):
        return _from_function(node, skip=1 if any(_name(d) == "classmethod" for d in node.decorator_list) else 0)
    constructor = _find(node.body, "__init__") or _find(node.body, "__new__")
    if isinstance(constructor, ast.FunctionDef):
        return _from_function(constructor, skip=1)
    bases = [base for base in map(_name, node.bases) if base not in {"object", "Protocol", "Generic", "ABC", "Module"}]
    inherited = [_member_signature(module, [base], depth + 1) if base else None for base in bases]
    if any(signature is None for signature in inherited):
        return None
    arguments: dict[str, str] = {}
    for signature in inherited:
        arguments |= signature.arguments if signature else {}
    is_dataclass = any(_name(decorator) == "dataclass" for decorator in node.decorator_list)
    fields = _dataclass_fields(node) if is_dataclass else {}
    return Signature(arguments | fields, open=any(signature.open for signature in inherited if signature))


def _from_function(node: ast.FunctionDef, skip: int) -> Signature:
    arguments = [*node.args.posonlyargs, *node.args.args][skip:] + node.args.kwonlyargs
    annotations = {item.arg: ast.unparse(item.annotation) if item.annotation else "" for item in arguments}
    return Signature(annotations, open=node.args.kwarg is not None)


def _dataclass_fields(node: ast.ClassDef) -> dict[str, str]:
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
    named = {item.target.id: item for item in fields if isinstance(item.target, ast.Name)}
    return {
        name: ast.unparse(item.annotation)
        for name, item in named.items()
        if not ast.unparse(item.annotation).startswith("ClassVar") and "init=False" not in _source(item.value)
    }


def _source(node: ast.expr | None) -> str:
    return "" if node is None else ast.unparse(node)


def _name(node: ast.expr) -> str:
    """Last part of a name, of `a.b.Name`, `Name[...]` or `Name(...)`; "" for anything else."""
    if isinstance(node, ast.Call):
        return _name(node.func)
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
