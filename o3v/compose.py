"""A command's configuration without its command line: composed and checked as the command itself would do it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from omegaconf import DictConfig

from o3v.cli import VERSION_BASE, conf_folder

_is_composing: ContextVar[bool] = ContextVar("is_composing", default=False)


def compose_command(root: str, overrides: Sequence[str], check: bool = True) -> DictConfig:
    """The configuration of a command.

    Args:
        root: root file of conf/, for example `train`.
        overrides: as on the command line, without sweeps.
        check: False where the same keys were checked already, and only their values differ.

    Raises:
        ConfigError: an unknown key, group or value; several values for one key.
    """
    from o3v.config_check import check_command, compose_root

    with composing():
        if check:
            check_command(root, list(overrides), multirun=True)
        return compose_root(root, list(overrides)).cfg.copy()


def override(key: str, value: Any) -> str:
    """One override that gives a key a plain value, quoted by Hydra's grammar.

    Example:
        >>> override("cluster.partition", None), override("seeds", [0, 1]), override("init_from", "/a b/c=1")
        ('cluster.partition=null', 'seeds=[0,1]', "init_from='/a b/c=1'")
        >>> override("logger.tags", {"arm": "no gate", "seed": 0})
        "logger.tags={arm:'no gate',seed:0}"
    """
    return f"{key}={_text(value)}"


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, str):
        return value if _is_bare(value) else "'" + _escaped(value) + "'"
    return repr(value)


def _escaped(text: str) -> str:
    """For single quotes in Hydra's grammar, where backslashes count only before a quote."""
    import re

    quoted = re.sub(r"(\\*)'", lambda found: found.group(1) * 2 + "\\'", text)
    tail = re.search(r"\\+$", quoted)
    return quoted + (tail.group(0) if tail else "")


def _is_bare(text: str) -> bool:
    """Whether Hydra reads a word as that very text."""
    import re

    words = {"null", "true", "false", "yes", "no", "on", "off", "nan", "inf"}
    return bool(re.fullmatch(r"[A-Za-z_/][A-Za-z0-9_./-]*", text)) and text.lower() not in words


@contextmanager
def composing() -> Iterator[None]:
    """Hydra on conf/ for several compositions, which then read each file once; also inside a command of Hydra's.

    What Hydra was set to before is put back. Inside another `composing` nothing is set up again.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from o3v.config import register_schemas
    from o3v.config_check import remembering

    if _is_composing.get():
        yield
        return
    register_schemas()
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    token = _is_composing.set(True)
    try:
        with initialize_config_dir(str(conf_folder()), version_base=VERSION_BASE), remembering():
            yield
    finally:
        _is_composing.reset(token)
        if outer is not None:
            GlobalHydra.instance().initialize(outer)
