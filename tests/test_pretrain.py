"""A base model from nothing: tokenizer, captions, export, scores; both families."""

import json

import pytest

from o3v.models.load import load_policy
from tests import commands, tiny
from tests.commands import QUIET, run_folder

STAGE = "{_target_: o3v.data.captions.CaptionStage, until: 1.0, batch: 4, max_objects: 2, weights: %s}"
SMALL = (
    "logger=jsonl",
    "captions.steps=3",
    f"captions.stages=[{STAGE % '{tagged: 1.0, claims: 1.0, tracks: 1.0}'}]",
    "trainer.save_every=2",
    "world.n_frames=4",
    "world.max_visible=3",
)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_base_model_is_made(tmp_path, family, monkeypatch):
    from o3v import pretrain

    scores = pretrain.caption_scores
    monkeypatch.setattr(pretrain, "caption_scores", lambda policy, captions, count: scores(policy, captions, 3))
    iou = commands.run("pretrain", tmp_path, f"model=tiny_{family}", *SMALL, *QUIET)
    folder = run_folder(tmp_path, "pretrain")
    result = json.loads((folder / "DONE.json").read_text())
    assert 0 <= iou <= 1 and result["box_iou"] == iou
    assert commands.metrics(folder)[2, "train/loss"]
    policy = load_policy(tiny.spec(family), folder / "model")
    sizes = {len(policy.processor.tokenizer(tag, add_special_tokens=False)["input_ids"]) for tag in tiny.PHRASES}
    assert sizes == {1}
