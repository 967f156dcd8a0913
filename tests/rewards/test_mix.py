"""The mix and the files under conf/reward: weights, totals, diagnostics, variants; any text gives a share."""

import math
from dataclasses import dataclass

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.errors import ConfigError
from o3v.grounding.parse import parse_completion
from o3v.grounding.render import render_claim, render_span, render_target
from o3v.rewards.mix import RewardMix
from o3v.types import BoxScale, Claim, KeyFrame, Task
from tests.grounding.test_parse import texts
from tests.rewards import configured
from tests.rewards.golden_lines import TERMS
from tests.rewards.samples import sample

SCALE = BoxScale(1000, 1000)
BOX = (0.1, 0.2, 0.5, 0.6)
VARIANTS = sorted(path.stem for path in (configured.CONF / "reward").glob("*.yaml"))
SAMPLES = {
    Task.VISUAL_QA: sample(task=Task.VISUAL_QA, box=BOX),
    Task.TEMPORAL_QA: sample(task=Task.TEMPORAL_QA, span_s=(2.0, 6.0)),
    Task.TEMPORAL_MCQ: sample(task=Task.TEMPORAL_MCQ, span_s=(2.0, 6.0), letter="B"),
    Task.TEMPORAL_SPATIAL: sample(
        task=Task.TEMPORAL_SPATIAL, answer="a red ball rolls", key_frames=(KeyFrame(3.0, {"ball": (BOX,)}, None),)
    ),
    Task.GENERAL_MCQ: sample(task=Task.GENERAL_MCQ, letter="B"),
    Task.GENERAL_FREE_FORM: sample(task=Task.GENERAL_FREE_FORM, answer="a red ball rolls"),
}
MAX_TOTAL = dict(zip(SAMPLES, (3.0, 3.0, 4.0, 4.0, 2.0, 2.0), strict=True))


def perfect(task):
    claim = render_claim(Claim("ball", (BOX,), 3.0), SCALE)
    answers = {
        Task.VISUAL_QA: "<obj>ball</obj><box>[100,200,500,600]</box>",
        Task.TEMPORAL_QA: render_span((2.0, 6.0), None),
        Task.TEMPORAL_MCQ: render_span((2.0, 6.0), "B"),
        Task.GENERAL_MCQ: "B",
    }
    think = f"{claim} {claim}" if task in (Task.TEMPORAL_QA, Task.TEMPORAL_MCQ) else claim
    return parse_completion(render_target(think, answers.get(task, "a red ball rolls")), SCALE)


@dataclass(frozen=True)
class Constant:
    """A term of one value."""

    value: float
    tasks: frozenset

    def __call__(self, completion, sample, progress):
        return self.value


def constant(value, *tasks):
    return Constant(value, frozenset(tasks or Task))


@pytest.mark.parametrize("variant", ["o3", "reference", "reference_fixed"])
@pytest.mark.parametrize("task", Task)
def test_a_perfect_answer_reaches_the_largest_total(variant, task):
    mix = configured.mix(variant)
    table = mix([perfect(task)], SAMPLES[task], 0.3)
    assert table.terms == TERMS
    assert table.totals[0] == pytest.approx(mix.max_total(task)) == MAX_TOTAL[task]
    assert table.diagnostics["parse_ok"] == (1.0,)
    assert table.diagnostics["undefined"] == (0.0,)


@settings(max_examples=30, deadline=None)
@given(st.lists(texts, max_size=3), st.sampled_from(Task), st.floats(0, 1))
def test_any_text_gives_shares(generated, task, progress):
    completions = [parse_completion(text, SCALE) for text in generated]
    for variant in VARIANTS:
        table = configured.mix(variant)(completions, SAMPLES[task], progress)
        assert len(table.values) == len(table.totals) == len(generated)
        assert all(0.0 <= value <= 1.0 for row in table.values for value in row)
        assert all(math.isfinite(value) for column in table.diagnostics.values() for value in column)


def test_totals_are_weighted_and_other_tasks_count_nothing():
    terms = {"a": constant(0.5), "b": constant(0.25, Task.VISUAL_QA), "c": constant(1.0)}
    mix = RewardMix(terms, {"c": 0.0, "b": 3.0, "a": 2.0})
    done = parse_completion("", SCALE)
    table = mix([done, done], SAMPLES[Task.GENERAL_MCQ], 0.0)
    assert (table.terms, table.applies, table.values[0]) == (("a", "b", "c"), (True, False, True), (0.5, 0.0, 1.0))
    assert (table.totals, table.weights) == ((1.0, 1.0), (2.0, 3.0, 0.0))
    assert mix([done], SAMPLES[Task.VISUAL_QA], 0.0).totals == (1.75,)
    assert (mix.max_total(Task.GENERAL_MCQ), mix.max_total(Task.VISUAL_QA)) == (2.0, 5.0)


def test_an_undefined_term_counts_nothing_and_is_counted():
    mix = RewardMix({"a": constant(math.nan), "b": constant(1.0)}, {"a": 1.0, "b": 1.0})
    table = mix([parse_completion("", SCALE)], SAMPLES[Task.GENERAL_MCQ], 0.0)
    assert (table.values, table.totals, table.diagnostics["undefined"]) == (((0.0, 1.0),), (1.0,), (1.0,))


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"a": 1.0}, r"missing \['b'\]"),
        ({"a": 1.0, "b": 1.0, "x": 1.0}, r"unknown \['x'\]"),
        ({"a": math.nan, "b": 1.0}, "finite"),
    ],
)
def test_wrong_weights_are_refused(weights, words):
    with pytest.raises(ConfigError, match=words):
        RewardMix({"a": constant(0.0), "b": constant(0.0)}, weights)


def leaves(tree, path=()):
    if not isinstance(tree, dict):
        return {path: tree}
    return {where: leaf for key, branch in tree.items() for where, leaf in leaves(branch, (*path, key)).items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_changes_values_of_o3_and_adds_no_key(variant):
    text = (configured.CONF / "reward" / f"{variant}.yaml").read_text()
    assert text.startswith("# ")
    own = yaml.safe_load(text)
    if own.pop("defaults", None):
        base = leaves(yaml.safe_load((configured.CONF / "reward" / "o3.yaml").read_text()))
        changed = leaves(own)
        assert changed
        assert all(where in base and base[where] != leaf for where, leaf in changed.items())


def test_variants_pay_what_they_say():
    late = "<think><obj>ball</obj><box>[100,200,500,600]</box>at<t>7.5</t>s</think><answer>a red ball rolls</answer>"
    done, video = parse_completion(late, SCALE), SAMPLES[Task.TEMPORAL_SPATIAL]

    def of(variant, term, progress=0.0):
        table = configured.mix(variant)([done], video, progress)
        return table.values[0][table.terms.index(term)]

    assert [of(v, "thk_spatial") for v in ("o3", "no_gate", "reference", "reference_fixed")] == [0.0, 1.0, 1.0, 0.0]
    near = [of(v, "thk_temporal_point", 0.9) for v in ("o3", "fixed_sigma_4", "fixed_sigma_1")]
    assert near == pytest.approx([math.exp(-(4.5**2) / 2), math.exp(-(4.5**2) / 32), math.exp(-(4.5**2) / 2)])
    assert of("fixed_sigma_1", "thk_temporal_point") == pytest.approx(math.exp(-(4.5**2) / 2))
    totals = {v: configured.mix(v).max_total(video.task) for v in ("no_spatial", "no_temporal", "no_evidence")}
    assert totals == {"no_spatial": 3.0, "no_temporal": 3.0, "no_evidence": 2.0}
