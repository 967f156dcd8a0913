"""Building the objects of a group: what reaches the constructor, and whose mistake an error is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from omegaconf import OmegaConf

from o3v.config import ROOTS, build
from o3v.errors import ConfigError, DataError
from o3v.signatures import Signature, signature_of


@dataclass(frozen=True)
class Part:
    """A class as conf/ would name it."""

    size: int
    names: list[str]

    def __post_init__(self) -> None:
        if self.size == 0:
            raise DataError("size must not be 0")
        if self.size < 0:
            raise TypeError("a bug inside of the class")


HERE = f"{__name__}.Part"


def config(**values: Any) -> Any:
    return OmegaConf.create({"part": {"_target_": HERE, **values}, "none": None})


def test_a_group_is_built_from_plain_values() -> None:
    part = build(config(size=1, names=["a"]), "part")
    assert part == Part(1, ["a"])
    assert type(part.names) is list


def test_values_known_at_run_time_are_added() -> None:
    assert build(config(size=1), "part", names=["b"]) == Part(1, ["b"])


def test_a_group_that_is_left_out_is_none() -> None:
    assert build(config(size=1), "none") is None


@pytest.mark.parametrize("values", [{"size": 1}, {"size": 1, "names": [], "colour": "red"}])
def test_wrong_arguments_name_the_group_and_the_class(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"part: .*(names|colour).*{HERE}"):
        build(config(**values), "part")


def test_a_users_mistake_stays_what_it_is() -> None:
    with pytest.raises(DataError, match="size must not be 0"):
        build(config(size=0, names=[]), "part")


def test_a_bug_inside_a_class_is_not_called_a_mistake_of_the_configuration() -> None:
    with pytest.raises(TypeError, match="a bug inside"):
        build(config(size=-1, names=[]), "part")


def test_signatures_are_read_without_importing() -> None:
    import sys

    assert signature_of(HERE) == Signature({"size": "int", "names": "list[str]"}, open=False)
    trainer = signature_of("lightning.Trainer")  # through two re-exports
    assert trainer is not None
    assert trainer.arguments["max_steps"] == "int"
    assert not trainer.open
    assert "lightning" not in sys.modules or "torch" in sys.modules
    assert signature_of("o3v.nowhere.Thing") is None


@pytest.mark.parametrize("name", list(ROOTS))
def test_every_root_has_its_file(name: str) -> None:
    from o3v.cli import conf_folder

    assert (conf_folder() / f"{name}.yaml").is_file()
