"""The base weights that ship with the project."""

from o3v.grounding.boxes import box_iou
from o3v.grounding.parse import parse_completion
from o3v.models.load import ASSETS, load_policy
from o3v.rollout.sampler import Sampling, sample_completions
from tests import tiny
from tests.data.test_captions import only

GREEDY = Sampling(group_size=1, temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=40, decoder="eager")


def test_the_tiny_base_is_found_and_sees():
    policy = load_policy(tiny.spec("qwen2_5_vl", path="tiny_qwen2_5_vl"))
    prompts = only("tagged", 8).prompts(7, 9, policy.family)
    texts = sample_completions(policy, policy.encode(prompts), GREEDY, [0] * 8).texts
    said, meant = boxes(texts, prompts), boxes([prompt.target for prompt in prompts], prompts)
    overlaps = [box_iou(a[0], b[0]) if a else 0.0 for a, b in zip(said, meant, strict=True)]
    assert sum(overlaps) / 8 > 0.7


def boxes(texts, prompts):
    pairs = zip(texts, prompts, strict=True)
    return [parse_completion(f"<think>{text}</think>", prompt.box_scale).think_boxes for text, prompt in pairs]


def test_assets_are_small():
    assert sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()) < 10 * 2**20
