"""Planned steps that several tests use."""

from dataclasses import replace
from functools import cache

import yaml

from o3v.models.load import ModelSpec
from o3v.models.lora import LoraSettings
from o3v.planning.case import Lengths, PlanCase
from o3v.planning.sizes import read_sizes
from tests.tiny import CONF

PAPER = Lengths(3964, 768, 21, 128, "given")


def preset(name, **changes):
    """conf/model/NAME.yaml, with what it inherits."""
    values = yaml.safe_load((CONF / "model" / f"{name}.yaml").read_text())
    inherited = values.pop("defaults", None)
    if inherited:
        base = preset(inherited[0])
        lora = replace(base.lora, **values.pop("lora", {}))
        return replace(base, **values | {"lora": lora} | changes)
    values.pop("_target_")
    values["lora"].pop("_target_")
    return ModelSpec(**values | {"lora": LoraSettings(**values["lora"])} | changes)


@cache
def sizes_of(name):
    return read_sizes(preset(name), 32000)


def sft(name="qwen2_5_vl_7b", **changes):
    spec = preset(name)
    case = PlanCase(spec, "gpu", 1, "sft", False, 1, 1, 1, 1, "kept", 1, PAPER, True, 100_000)
    return replace(case, **changes)


def rl(name="qwen2_5_vl_7b", **changes):
    return sft(name, **{"kind": "rl", "kl": True, "group_size": 4} | changes)
