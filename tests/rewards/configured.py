"""Builds a reward mix from its file under conf/."""

import functools
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

CONF = Path(__file__).parents[2] / "conf"


@functools.cache
def mix(name: str):
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(overrides=[f"+reward={name}"])
    return instantiate(config.reward, _convert_="all")
