"""Is every key, group and value of a command known? Answered before anything heavy is imported.

Hydra alone lets some mistakes through: a misspelt key inside an experiment's file composes silently, and the arguments
of a class are only checked when its module has been imported. So each configuration of a command is composed here
first and compared with what may stand there: the root's schema, the files of the groups, the tree without the
experiment, and the constructors' signatures as their source text gives them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

import yaml
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from o3v.config import ROOTS, first_line, resolve
from o3v.errors import ConfigError
from o3v.signatures import Signature, choices_in, signature_of, simple_types_in

HYDRA_KEYS = frozenset({"_target_", "_partial_", "_args_", "_convert_", "_recursive_"})
CLUSTER_KINDS = ("inline", "local", "slurm")
STARTING = ("train", "evaluate", "pretrain")
"""Roots whose command works here or, as a multirun, on a cluster."""
NOT_GIVEN = "???"


@dataclass(frozen=True)
class Composed:
    """One composed configuration.

    Attributes:
        cfg: without Hydra's own part.
        choices: group -> chosen file, None where the group is null.
    """

    cfg: DictConfig
    choices: Mapping[str, str | None]


_remembered: ContextVar[dict[tuple[str, tuple[str, ...]], Composed] | None] = ContextVar("_remembered", default=None)


def check_command(config_name: str, overrides: Sequence[str], multirun: bool, shown: bool = False) -> None:
    """Check every override of a command, alone and in the configuration it makes; Hydra must be initialised.

    Args:
        config_name: root file, a key of `ROOTS`.
        overrides: as on the command line, sweeps included.
        multirun: whether several values for one key are allowed.
        shown: the configuration is only printed, so values may be missing and jobs are not started.

    Raises:
        ConfigError: names the key or value that is wrong, those that are allowed, and a near one.
    """
    root = compose_root(config_name, [])
    parsed = [override for override in parse_overrides(overrides) if not override.is_hydra_override()]
    for override in parsed:
        _check_root_key(override, config_name, root)
        if override.is_sweep_override() and not (multirun or shown):
            raise ConfigError(f"{override.input_line}: several values need a multirun; add -m")
    for variant in variants(parsed):
        full = check_configuration(config_name, variant, root)
        if not shown:
            _check_given(_resolve(full.cfg), full.cfg)
            _check_starting(config_name, full, multirun)


def check_configuration(config_name: str, overrides: Sequence[str], root: Composed) -> Composed:
    """Compose one configuration, without sweeps, and check its groups, then its keys, then its values."""
    parsed = parse_overrides(overrides)
    choosing = [override for override in parsed if _is_group(override, root)]
    for override in choosing:
        _check_choice(override)
    chosen = compose_root(config_name, [str(override.input_line) for override in choosing]) if choosing else root
    for override in parsed:
        if override not in choosing:
            _check_key(override, chosen.cfg)
    full = compose_root(config_name, list(overrides)) if len(choosing) < len(parsed) else chosen
    experiment = full.choices.get("experiment")
    base = chosen if experiment is None else compose_root(config_name, _without_experiment(full, root))
    plain = _resolve(full.cfg)
    added = {override.key_or_group for override in parsed if override.is_add() or override.is_force_add()}
    _check_keys(plain, _unresolved(base.cfg), "", added, experiment)
    _check_cluster(plain)
    return full


def variants(parsed: Sequence[Override]) -> Iterator[list[str]]:
    """The first configuration of a sweep, and for every further value the one that differs from it in that value."""
    values = [_values(override) for override in parsed]
    first = [of_one[0] for of_one in values]
    yield first
    for position, of_one in enumerate(values):
        for value in of_one[1:]:
            yield [*first[:position], value, *first[position + 1 :]]


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Read the overrides of a command line by Hydra's grammar."""
    loader = GlobalHydra.instance().config_loader()
    try:
        return OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise ConfigError(f"{error.override}: cannot be read as key=value ({first_line(error)})") from error


@contextmanager
def remembering() -> Iterator[None]:
    """Inside, equal compositions are made once; for commands that compose many configurations of one conf/."""
    token = _remembered.set({})
    try:
        yield
    finally:
        _remembered.reset(token)


def compose_root(config_name: str, overrides: list[str]) -> Composed:
    """Compose a root file with overrides, not to be changed; Hydra's errors become ConfigErrors."""
    known, key = _remembered.get(), (config_name, tuple(overrides))
    if known is None:
        return _compose_root(config_name, overrides)
    if key not in known:
        known[key] = _compose_root(config_name, overrides)
    return known[key]


def _compose_root(config_name: str, overrides: list[str]) -> Composed:
    try:
        cfg = compose(config_name, overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise translate(error) from error
    choices = {key: value for key, value in cfg.hydra.runtime.choices.items() if not str(key).startswith("hydra/")}
    task = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    return Composed(task, choices)


def translate(error: BaseException) -> ConfigError:
    """An error of Hydra or OmegaConf as one sentence or two that name the key and what is allowed."""
    text = str(error).strip() or type(error).__name__
    place = re.match(r"In '([^']+)': ", text)
    where = f"conf/{place.group(1)}.yaml: " if place else ""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return unknown(f"{where}{group}={name}", name, error.options, f"file of conf/{group}/")
    if isinstance(error, MissingConfigException):
        return ConfigError(f"{where}conf/{error.missing_cfg_file}.yaml does not exist")
    root_key = re.search(r"Key '([^']*)' not in '(\w+)'", text)
    schemas = {schema.__name__: schema for schema in ROOTS.values()}
    if root_key and root_key.group(2) in schemas:
        key = root_key.group(1)
        return unknown(where + key, key, [item.name for item in fields(schemas[root_key.group(2)])], "key")
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, OmegaConfBaseException):
        return ConfigError(f"{where}{cause.full_key}: {first_line(cause)}" if cause.full_key else where + text)
    return ConfigError(text)


def unknown(what: str, given: str, allowed: Collection[object], kind: str) -> ConfigError:
    """The error for a name that does not exist.

    Example:
        >>> print(unknown("reward=no_gte", "no_gte", ["o3", "no_gate"], "file of conf/reward/"))
        reward=no_gte: unknown file of conf/reward/; did you mean 'no_gate'? Allowed: no_gate, o3
    """
    names = sorted(str(name) for name in allowed)
    near = get_close_matches(given, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return ConfigError(f"{what}: unknown {kind}{hint} Allowed: {', '.join(names) or 'none'}")


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override() or not override.is_discrete_sweep():
        return [str(override.input_line)]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _is_group(override: Override, root: Composed) -> bool:
    key = override.get_key_element().lstrip("+~")
    return key in root.choices or bool(_options(override.key_or_group))


def _options(group: str) -> list[str]:
    """Files of a group; those that only define a schema are not shown."""
    return [name for name in GlobalHydra.instance().config_loader().get_group_options(group) if name[:5] != "base_"]


def _check_root_key(override: Override, config_name: str, root: Composed) -> None:
    first = re.split(r"[./@]", override.key_or_group)[0]
    groups = [key for key in root.choices if "@" not in key]
    allowed = {*(str(key) for key in root.cfg), *(key.split("/")[0] for key in groups)}
    allowed |= {item.name for item in fields(ROOTS[config_name])}
    if first not in allowed:
        raise unknown(str(override.input_line), first, allowed, "key")


def _check_choice(override: Override) -> None:
    value, group = override.value(), override.key_or_group
    if value is None and not override.is_delete():
        raise ConfigError(f"{override.input_line}: a group is left out by ~{group}")
    options = _options(group)
    names = value if isinstance(value, list) else [value]
    for name in names:
        if name not in options and not override.is_delete():
            raise unknown(str(override.input_line), str(name), options, f"file of conf/{group}/")


def _check_key(override: Override, tree: DictConfig) -> None:
    """A dotted key that is changed or deleted must exist; one that is added needs an existing parent or a null."""
    node: Any = tree
    parts = override.key_or_group.split(".")
    if override.is_delete() and len(parts) == 1:
        raise ConfigError(f"{override.input_line}: {parts[0]} is part of every configuration and cannot be left out")
    for position, part in enumerate(parts):
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
            return
        if part not in node.keys():  # noqa: SIM118  (`in` alone would overlook a key without a value)
            if override.is_add() or override.is_force_add():
                return
            parent = ".".join(parts[:position])
            if len(node) == 0:
                raise ConfigError(f"{override.input_line}: {parent} takes any key; add one with +{override.input_line}")
            raise unknown(str(override.input_line), part, _keys(node), f"key of {parent}" if parent else "key")
        node = node._get_node(part)


def _keys(node: DictConfig) -> set[str]:
    """Keys that a node may have: those it has, and the arguments of its class."""
    present = {str(key) for key in node}
    target = node.get("_target_")
    signature = signature_of(str(target)) if target else None
    return (present | set(signature.arguments) if signature else present) - HYDRA_KEYS


def _without_experiment(full: Composed, root: Composed) -> list[str]:
    """Overrides that choose the same files of the groups, but no experiment and no single values."""
    overrides = []
    for key, name in full.choices.items():
        default = root.choices.get(key)
        if key == "experiment" or (name is None and default is None):
            continue
        overrides.append(f"~{key}" if name is None else f"{'' if key in root.choices else '+'}{key}={_encode(name)}")
    return overrides


def _encode(name: object) -> str:
    return f"[{','.join(map(str, name))}]" if isinstance(name, list | ListConfig) else str(name)


def _resolve(cfg: DictConfig) -> dict[str, Any]:
    try:
        return resolve(cfg)
    except OmegaConfBaseException as error:
        raise translate(error) from error


def _unresolved(cfg: DictConfig) -> Any:
    return OmegaConf.to_container(cfg, resolve=False, throw_on_missing=False)


def _check_keys(node: Any, base: Any, path: str, added: Collection[str], experiment: str | None) -> None:
    """Every key of a node must be an argument of its class, or stand in the same place without the experiment."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            _check_keys(item, None, f"{path}[{index}]", added, experiment)
    if not isinstance(node, dict):
        return
    target = node.get("_target_")
    signature = signature_of(target) if isinstance(target, str) else None
    signature = None if signature is None or signature.open else signature
    allowed = _allowed(node, base, signature)
    for key, value in node.items():
        place = f"{path}.{key}" if path else str(key)
        if allowed is not None and key not in allowed and (signature is not None or place not in added):
            source = f"{place} (experiment={experiment})" if experiment else place
            raise unknown(source, str(key), allowed - HYDRA_KEYS, f"key of {path}" if path else "key")
        _check_value(value, signature.arguments.get(str(key), "") if signature else "", place)
        _check_keys(value, base.get(key) if isinstance(base, dict) else None, place, added, experiment)


def _allowed(node: Mapping[str, Any], base: Any, signature: Signature | None) -> set[str] | None:
    """Keys that a node may have; None where nothing says it: a mapping that is null or empty in the group's file."""
    if signature is not None:
        return set(signature.arguments) | HYDRA_KEYS
    same_class = isinstance(base, dict) and base and base.get("_target_") == node.get("_target_")
    return {str(key) for key in base} | HYDRA_KEYS if same_class else None


def _check_value(value: Any, annotation: str, place: str) -> None:
    """A plain value must fit a plain annotation; what a class expects otherwise is its own to check."""
    choices = choices_in(annotation)
    if choices is not None and not isinstance(value, list | dict) and value not in choices:
        raise unknown(f"{place}={value}", str(value), choices, "value")
    types = simple_types_in(annotation)
    if types is None or value == NOT_GIVEN or type(value).__name__ in types or (value is None and "None" in types):
        return
    if isinstance(value, int) and not isinstance(value, bool) and "float" in types:
        return
    raise ConfigError(f"{place}: {value!r} is not allowed, expected {annotation}")


def _check_given(plain: Mapping[str, Any], cfg: DictConfig) -> None:
    missing = [path for group, node in plain.items() if group != "paths" for path in _not_given(node, group)]
    if missing:
        by_sentence = {_how_to_give(path, cfg).split(" (needed by")[0]: path for path in reversed(missing)}
        raise ConfigError("\n".join(_how_to_give(path, cfg) for path in reversed(by_sentence.values())))


def _not_given(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _not_given(value, f"{path}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _not_given(value, f"{path}[{index}]")
    elif isinstance(node, str) and NOT_GIVEN in node:
        yield path


def _how_to_give(path: str, cfg: DictConfig) -> str:
    """One sentence: which value is missing, who needs it, and the ways to give it."""
    raw = _raw(path, cfg)
    origin = re.search(r"\$\{([\w.]+)\}", raw)
    key = origin.group(1) if origin else path
    variable = re.search(r"\$\{oc\.env:(\w+)", _raw(key, cfg))
    needed = f" (needed by {path})" if key != path else ""
    ways = f"{key}=VALUE" + (f" or the environment variable {variable.group(1)}" if variable else "")
    return f"{key} has no value{needed}: give {ways}"


def _raw(path: str, cfg: DictConfig) -> str:
    """What stands at a path before interpolations are resolved; a node that is one itself is followed."""
    root: Any = _unresolved(cfg)
    node, left = root, re.findall(r"[^.\[\]]+", path)
    while left:
        reference = re.fullmatch(r"\$\{([\w.]+)\}", node) if isinstance(node, str) else None
        if reference:
            node, left = root, [*reference.group(1).split("."), *left]
        part = left.pop(0)
        node = node[int(part)] if isinstance(node, list) else (node or {}).get(part)
    return str(node)


def _check_cluster(plain: Mapping[str, Any]) -> None:
    cluster = plain.get("cluster")
    if cluster is None:
        return
    if cluster["kind"] not in CLUSTER_KINDS:
        raise unknown(f"cluster.kind={cluster['kind']}", str(cluster["kind"]), CLUSTER_KINDS, "value")
    for key in ("nodes", "tasks_per_node", "cpus_per_task", "array_parallelism"):
        if cluster[key] < 1:
            raise ConfigError(f"cluster.{key}: {cluster[key]} is not allowed, expected 1 or more")


def _check_starting(config_name: str, full: Composed, multirun: bool) -> None:
    choice = full.choices.get("cluster")
    if config_name in STARTING and full.cfg.cluster.kind != "inline" and not multirun:
        raise ConfigError(f"cluster={choice}: starts the runs of a multirun as jobs; add -m (or take cluster=inline)")
