"""What a step may cost, held without a clock: operations, calls of the vision tower, tokens of the language model."""

import pytest
import torch

from o3v.measure import dense, shared
from o3v.measure.clock import WHOLE, Meter
from o3v.measure.counters import counter
from o3v.measure.floor import dense_work, floor_work, pass_work, total
from o3v.measure.model import frames_prompt, random_policy
from tests.measure.cases import case, tiny_case

MOST = 1.03
"""Counted operations over the floor, counted alike."""


class Counted:
    """One step of an arm under the counter, beside the floor."""

    def __init__(self, arm, case):
        policy = random_policy(case)
        prompt = frames_prompt(policy, case.prompt, case.image_px, case.seed)
        self.patches = len(policy.encode([prompt]).pixel_values)
        meter = Meter(counter(policy.model))
        arm.run(case, policy, prompt, [meter])
        self.phases = meter.phases
        work = pass_work(policy.model.config, case.prompt, case.completion, len(prompt.clip.frames), case.image_px)
        reference = bool(case.objective.kl_coef)
        self.floor = total(floor_work(work, case.group_size, reference))
        self.dense = total(dense_work(work, case.group_size, reference))

    def __getitem__(self, name):
        return self.phases[WHOLE][name]


SIZES = ("prompt=512", "completion=16", "group_size=4")
P, L, G = 512, 16, 4


@pytest.fixture(scope="module")
def kept():
    return Counted(shared, case(*SIZES))


def test_a_step_costs_at_most_three_percent_more_than_the_floor(kept):
    assert kept["products"] <= MOST * kept.floor.products
    assert kept["attention"] <= MOST * kept.floor.attention
    assert kept["products"] > 0.85 * kept.floor.products  # less only where the last layer skips the prompt


@pytest.mark.slow
def test_so_does_a_step_whose_completions_weigh_most():
    counted = Counted(shared, case("prompt=1024", "completion=128", "group_size=8"))
    assert counted["products"] <= MOST * counted.floor.products
    assert counted["attention"] <= MOST * counted.floor.attention


def test_vision_and_prompt_pass_the_model_once_a_step(kept):
    assert kept["vision_calls"] == 1
    assert kept["vision_patches"] == kept.patches
    assert kept.phases["rollout"]["tokens"] == P + G * (L - 1)  # the last token of a completion is never fed
    assert kept.phases["forward"]["tokens"] == G * (L - 1)


@pytest.mark.parametrize("way", ["split", "mask"])
def test_a_pass_of_its_own_reads_the_prompt_once_more(way):
    counted = Counted(shared, tiny_case(f"prompt_pass={way}"))
    assert counted["vision_patches"] == 2 * counted.patches
    assert counted.phases["forward"]["tokens"] == 60 + 4 * 4
    assert counted.phases["rollout"]["tokens"] == 60 + 4 * 4


def test_the_reference_model_is_counted_with_the_operations():
    plain, kl = Counted(shared, tiny_case()), Counted(shared, tiny_case("objective.kl_coef=0.1"))
    more = kl["products"] - plain["products"]
    least = kl.floor.products - plain.floor.products
    assert 0.75 * least < more <= MOST * least


def test_the_dense_step_costs_what_the_arithmetic_says():
    counted = Counted(dense, case("prompt=256", "completion=8", "group_size=3"))
    assert counted["products"] == pytest.approx(counted.dense.products, rel=0.02)
    assert counted["attention"] == pytest.approx(counted.dense.attention, rel=0.02)
    assert counted["vision_patches"] == 2 * 3 * counted.patches


def test_dense_micro_batches_do_the_same_work():
    whole, halves = Counted(dense, tiny_case()), Counted(dense, tiny_case("micro_batch=2"))
    assert halves["products"] == whole["products"]
    assert halves["vision_calls"] == whole["vision_calls"] + 1


def test_the_counts_are_the_same_every_time():
    assert Counted(shared, tiny_case()).phases == Counted(shared, tiny_case()).phases


# ---- the counter itself


def counted(run):
    """Readings of a function under the counter of a model that it does not use."""
    with counter(random_policy(tiny_case()).model)() as read:
        run()
        return read()


def test_products_and_attention_are_counted_apart():
    a, b = torch.ones(3, 4), torch.ones(4, 5)
    assert counted(lambda: a @ b)["products"] == 2 * 3 * 4 * 5
    assert counted(lambda: torch.ones(2, 3, 4) @ torch.ones(2, 4, 5))["attention"] == 2 * 2 * 3 * 4 * 5


def test_products_added_in_place_are_not_overlooked():
    total_ = torch.zeros(3, 5)
    assert counted(lambda: total_.addmm_(torch.ones(3, 4), torch.ones(4, 5)))["products"] == 2 * 3 * 4 * 5


@pytest.mark.parametrize(("causal", "pairs"), [(False, 36), (True, 21)])
def test_fused_attention_is_counted_by_the_pairs_it_allows(causal, pairs):
    q = torch.randn(1, 2, 6, 8, requires_grad=True)
    attend = torch.nn.functional.scaled_dot_product_attention
    forward = counted(lambda: attend(q, q, q, is_causal=causal))["attention"]
    assert forward == 2 * pairs * (2 * 8 + 2 * 8)
    both = counted(lambda: attend(q, q, q, is_causal=causal).sum().backward())["attention"]
    assert both == 3 * forward
