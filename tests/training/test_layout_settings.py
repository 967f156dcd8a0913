"""What goes with which layout, before anything is started."""

from dataclasses import replace

import pytest

from o3v.errors import ConfigError
from o3v.rollout.engines import ColocatedEngine
from o3v.training.layouts import COPIES, LAYOUTS, SHARDED, check_layout, check_sharded, drawing_under
from tests.training.runs import LIGHTNING, settings_of
from tests.training.steps import SAMPLING

COLOCATED = object.__new__(ColocatedEngine)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_can_be_configured(name):
    assert (settings_of(layout=name, prompt_pass="split").lay_out() is COPIES) == (name == "ddp")


def test_one_process_is_the_same_as_copies():
    assert settings_of().lay_out() is COPIES


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"layout": "zero4"}, r"trainer.layout='zero4'.*ddp.*zero3_offload"),
        ({"layout": "fsdp2"}, "trainer.prompt_pass='kept'.*split"),
        ({"layout": "zero3"}, "trainer.prompt_pass='kept'.*split"),
        ({"layout": "zero2", "lightning": LIGHTNING | {"strategy": "ddp"}}, "trainer.lightning.strategy.*zero2"),
        ({"layout": "zero2", "lightning": LIGHTNING | {"precision": "bf16-mixed"}}, "bf16-mixed.*32-true"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, told):
    with pytest.raises(ConfigError, match=told):
        settings_of(**changes)


def test_zero2_keeps_whole_weights_and_so_may_keep_a_graph():
    check_layout("zero2", "kept", LIGHTNING)


@pytest.mark.parametrize("name", LAYOUTS)
def test_four_bits_and_colocated_engines_want_whole_weights(name):
    for arguments in (("nf4", None), (None, COLOCATED)):
        if name in SHARDED:
            with pytest.raises(ConfigError, match=f"trainer.layout={name}"):
                check_sharded(name, *arguments)
        else:
            check_sharded(name, *arguments)
    check_sharded(name, None, None)


def test_no_cuda_graph_between_hooks_of_sharding():
    auto, graph = replace(SAMPLING, decoder="auto"), replace(SAMPLING, decoder="graph")
    assert drawing_under("fsdp2", auto).decoder == "eager" and drawing_under("ddp", auto) is auto
    assert drawing_under("zero2", graph) is graph
    with pytest.raises(ConfigError, match=r"rollout\.decoder='graph'"):
        drawing_under("zero3", graph)
