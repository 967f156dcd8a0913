"""What a cluster's jobs need beyond sizes: the site's own words, the lines before a job starts, further keys of sbatch.

Hydra's own launcher (`-m ... cluster=slurm_1x8`) and `launchers.submit` both read them here, so a job is the same
whichever way it was started. Importing this module makes the three resolvers known to OmegaConf that conf/cluster uses.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

import o3v
from o3v.errors import ConfigError

SITE_VARIABLE = "O3V_SITE"
SITE_TEXTS = ("partition", "preempt_partition", "account", "qos", "preempt_qos", "constraint")
"""Keys of the site's file that hold one word."""
SITE_KEYS = (*SITE_TEXTS, "setup", "sbatch")


def site_file() -> Path | None:
    """The user's file of site keys: named by O3V_SITE, else site.yaml beside conf/; None where there is none.

    Raises:
        ConfigError: O3V_SITE names a file that does not exist.
    """
    named = os.environ.get(SITE_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"{SITE_VARIABLE}={named}: the file does not exist; see launchers/site.example.yaml")
        return Path(named)
    beside = repository() / "site.yaml"
    return beside if beside.is_file() else None


def read_site(path: Path | None) -> dict[str, Any]:
    """The site's keys; a key that the file does not give is None, no setup lines, no further keys of sbatch.

    Raises:
        ConfigError: unreadable, an unknown key, or a value of another type; names the key and what is allowed.

    Example:
        >>> read_site(None)["setup"], read_site(None)["account"]
        ([], None)
    """
    given = {} if path is None else _mapping(path)
    for key, value in given.items():
        if key not in SITE_KEYS:
            raise ConfigError(f"{path}: {key}: unknown key. Allowed: {', '.join(SITE_KEYS)}")
        kind = {"setup": list, "sbatch": dict}.get(key, str)
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f"{path}: {key}: {value!r} is not allowed, expected {kind.__name__} or nothing")
    empty: dict[str, Any] = {**dict.fromkeys(SITE_TEXTS), "setup": [], "sbatch": {}}
    return empty | {key: value for key, value in given.items() if value is not None}


def site_value(key: str, otherwise: str | None = None) -> str | None:
    """One word of the site's file, `otherwise` where the file does not give it; in conf/cluster `${site:account}`."""
    if key not in SITE_TEXTS:
        raise ConfigError(f"site:{key}: unknown key. Allowed: {', '.join(SITE_TEXTS)}")
    value: str | None = read_site(site_file())[key]
    return otherwise if value is None else value


def setup_of(cluster: Mapping[str, Any]) -> list[str]:
    """Shell lines that run on the node before the job: the project's own, the site's, then those of `cluster.setup`.

    The project's own: the repository on PYTHONPATH; the CPUs of a task, which srun no longer takes over from sbatch
    since SLURM 22.05; and that a process that dies ends the other ones of its job.

    Example:
        >>> setup_of({"cpus_per_task": 4, "setup": ["module load cuda"]})[1:]  # doctest: +ELLIPSIS
        ['export SRUN_CPUS_PER_TASK=4', 'export SLURM_KILL_BAD_EXIT=1', ...'module load cuda']
    """
    place = shlex.quote(str(repository()))
    return [
        f'export PYTHONPATH={place}"$([ -z "$PYTHONPATH" ] || echo ":$PYTHONPATH")"',
        f"export SRUN_CPUS_PER_TASK={cluster['cpus_per_task']}",
        "export SLURM_KILL_BAD_EXIT=1",
        *read_site(site_file())["setup"],
        *cluster["setup"],
    ]


def sbatch_of(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """Further keys of sbatch: `--requeue`, the site's, then those of `cluster.sbatch`; false or null leaves one out.

    Without `--requeue` a site may forbid to start a job again, and then nothing survives its time limit.

    Example:
        >>> sbatch_of({"sbatch": {"exclude": "n7"}})["exclude"]
        'n7'
        >>> sbatch_of({"sbatch": {"requeue": False}}).get("requeue")
    """
    keys = {"requeue": True, **read_site(site_file())["sbatch"], **cluster["sbatch"]}
    return {str(key): value for key, value in keys.items() if value is not None and value is not False}


def repository() -> Path:
    """The folder that holds o3v/ and launchers/."""
    return Path(o3v.__file__).resolve().parent.parent


def register_resolvers() -> None:
    """Make `${site:KEY}`, `${setup_of:${cluster}}` and `${sbatch_of:${cluster}}` known; again does no harm."""
    OmegaConf.register_new_resolver("site", site_value, replace=True)
    OmegaConf.register_new_resolver("setup_of", _setup_for_hydra, replace=True)
    OmegaConf.register_new_resolver("sbatch_of", sbatch_of, replace=True)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict | None):
        raise ConfigError(f"{path}: must hold keys and values, as launchers/site.example.yaml does")
    return content or {}


def _setup_for_hydra(cluster: Mapping[str, Any]) -> list[str]:
    """The lines for Hydra's launcher, which reads `${` in them as its own, again and again; no escape survives that."""
    for line in setup_of(cluster):
        if "${" in line:
            raise ConfigError(f"cluster.setup or the site's: {line!r}: write $NAME instead of ${{NAME}}")
    return setup_of(cluster)


register_resolvers()
