"""The tiny local model as annotator: whatever it writes is a decision."""

import pytest

from o3v.compose import compose_command
from o3v.curate import curation_of, main
from o3v.curation.language import BoxLanguage
from o3v.curation.local import LocalAnnotator
from o3v.errors import ConfigError
from o3v.models.load import save_policy
from o3v.rollout.draw import Sampling
from tests import tiny
from tests.curation import parts
from tests.curation.test_asking import ask

GREEDY = Sampling(1, 0.0, 1.0, 0, 6, "eager")


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_policy_answers(family, tmp_path):
    save_policy(tiny.random_policy(family), tmp_path / "model")
    spec = tiny.spec(family, path="model", root=str(tmp_path))
    one = LocalAnnotator(spec, None, GREEDY, "cpu", "tags", 0)
    asked = ask("is this a cat?", size_px=2 * one.factor)
    assert one.reply(asked) == one.reply(asked)
    assert one.boxes == BoxLanguage("pixels" if family == "qwen2_5_vl" else "thousand", "xyxy")
    assert one.factor in (28, 32) and "model" in one.name and one.workers == 1


def test_more_than_one_completion_is_refused():
    with pytest.raises(ConfigError, match="group_size"):
        LocalAnnotator(tiny.spec("qwen3_vl"), None, Sampling(2, 1.0, 1.0, 0, 6, "eager"), "cpu", "tags", 0)


def test_the_command_with_a_local_model(tmp_path):
    world = parts.world(tmp_path / "world", clips=3)
    overrides = [
        "annotator=local",
        "rollout.max_new_tokens=8",
        "stages=[filter,propose,boxes,verify,consistency,write]",
    ]

    places = [f"rows={world.rows}", f"media_root={world.rows.parent}", f"out={tmp_path / 'out'}"]
    cfg = compose_command("curate", [*places, *overrides])
    assert main.__wrapped__(cfg) == 0.0
    reasons = {one["reason"] for one in parts.decisions(curation_of(cfg).folder)}
    assert "unreadable proposal" in reasons
