"""Tiny random models of the real classes, generated prompts and settings that several packages' tests share."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import yaml

from o3v.data.captions import CLIP_CAPTIONS, STILL_CAPTIONS, Captions, CaptionStage, clip_of
from o3v.data.shapes import ShapesWorld
from o3v.data.shapes_rows import draw_row
from o3v.grounding.render import render_target
from o3v.models.family import find_family
from o3v.models.load import ModelSpec, make_policy, save_policy
from o3v.models.lora import LoraSettings
from o3v.models.policy import Policy
from o3v.models.tokenizer import train_tokenizer
from o3v.prompts.build import interleave
from o3v.prompts.system import SYSTEM_TEXTS
from o3v.types import Clip, Prompt, Task

torch.set_num_threads(1)

CONF = Path(__file__).parents[1] / "conf"
FAMILIES = ("qwen2_5_vl", "qwen3_vl")
PHRASES = ("Frame ", " at ", "s: ", "\nThe video is in total ", " seconds.\n", *SYSTEM_TEXTS.values())
WORLD = ShapesWorld(  # frames of 3x3 visual tokens
    frame_px=84,
    n_frames=4,
    fps=1.0,
    min_objects=1,
    max_objects=2,
    colours=["red", "green", "blue", "yellow"],
    shapes=["circle", "square", "triangle"],
    size_px=28,
    grid_px=14,
    speed_px=14,
    min_visible=2,
    max_visible=3,
    noise=4.0,
)


def spec(family: str, path: str = "nowhere", root: str = "nowhere") -> ModelSpec:
    """The preset conf/model/tiny_FAMILY.yaml."""
    values = yaml.safe_load((CONF / "model" / f"tiny_{family}.yaml").read_text())
    values.pop("_target_")
    values["lora"].pop("_target_")
    return ModelSpec(**values | {"path": path, "root": root, "lora": LoraSettings(**values["lora"])})


def captions(steps: int = 4, batch: int = 8) -> Captions:
    """Every kind of caption in one stage."""
    weights = dict.fromkeys([*STILL_CAPTIONS, *CLIP_CAPTIONS], 1.0)
    return Captions(WORLD, [CaptionStage(1.0, batch, weights, 2)], steps)


@cache
def tokenizer():
    """One small tokenizer for both families: words and numbers of the generated world."""
    texts = []
    for family in FAMILIES:
        for prompt in captions(1, 96).prompts(0, 0, find_family(family)):
            texts += [prompt.target or "", str(prompt.parts[-1])]
    rows = [draw_row(WORLD, task, seed)[0] for task in Task for seed in range(8)]
    texts += [str(row[key]) for row in rows for key in ("question", "answer", "reasoning_process")]
    texts += [f"{k}.0 {k} 0.{k}" for k in range(10)] * 3
    return train_tokenizer(texts, PHRASES, 560)


def random_policy(family: str, scale: float = 2.0, seed: int = 0) -> Policy:
    """A random model whose matrices are enlarged, so that log-probabilities vary (standard deviation about 1)."""
    policy = make_policy(spec(family), tokenizer(), seed)
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.ndim > 1:
                weight.mul_(scale)
    return policy


def saved_policy(family: str, folder: Path, scale: float = 1.0) -> Path:
    """A random model on disk, as an exported one."""
    save_policy(random_policy(family, scale), folder)
    return folder


def still_prompt(policy: Policy, seed: int = 0, question: str = "Where is it?") -> Prompt:
    """One frame without a time."""
    clip = clip_of(WORLD, WORLD.still(seed), policy.family)
    return _prompt(policy, clip, Task.VISUAL_QA, question, "<obj>red circle</obj>")


def clip_prompt(policy: Policy, frames: int = 3, seed: int = 0, question: str = "When is it seen?") -> Prompt:
    """Several frames with their times."""
    full = clip_of(WORLD, WORLD.scene(seed), policy.family)
    clip = Clip(full.frames[:frames], full.times_s[:frames], full.duration_s, full.original_size_px)
    target = render_target("It is seen from 1.0 to 2.0.", "From <t>1.0</t>s to <t>2.0</t>s")
    return _prompt(policy, clip, Task.TEMPORAL_QA, question, target)


def _prompt(policy: Policy, clip: Clip, task: Task, question: str, target: str) -> Prompt:
    return Prompt(SYSTEM_TEXTS[task], (*interleave(clip), question), clip, policy.box_scale(clip.size_px), target)


def mixed_prompts(policy: Policy) -> list[Prompt]:
    """A still image, a clip of 4 frames and one of 2: three lengths, three numbers of frames."""
    long = "When is the red circle seen, exactly?"
    return [still_prompt(policy, 1), clip_prompt(policy, 4, 2), clip_prompt(policy, 2, 3, long)]


def ragged(policy: Policy, lengths: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random completions of given lengths, without tokens that a policy may not write; ids [N, L] and mask [N, L]."""
    allowed = [i for i in range(len(policy.processor.tokenizer)) if i not in policy.banned_ids]
    generator = torch.Generator().manual_seed(seed)
    ids = torch.full((len(lengths), max(lengths)), policy.pad_id)
    for row, length in enumerate(lengths):
        picks = torch.randint(len(allowed), (length,), generator=generator)
        ids[row, :length] = torch.tensor(allowed)[picks]
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    return ids, mask
