"""Make the base weights of a tiny model: `python -m o3v.pretrain model=tiny_qwen2_5_vl`.

The result is a Hugging Face folder below the run's folder; `experiments/tiny_base` records how the shipped one was
made. Starting the command again continues an interrupted run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from o3v.data.captions import Captions
    from o3v.models.family import Family
    from o3v.models.policy import Policy


@command(config_name="pretrain")
def main(cfg: DictConfig) -> float | None:
    """Train a tokenizer and a tiny model on captions of the generated world; returns the box IoU at the end."""
    from o3v.config import build, resolve
    from o3v.data.faults import FaultLog
    from o3v.data.stream import BatchLoader, CaptionStream
    from o3v.models.load import make_policy, save_policy
    from o3v.objectives.sft import SFTObjective
    from o3v.runs import open_run
    from o3v.training.fit import fit
    from o3v.training.learner import Learner
    from o3v.training.module import GroundingModule
    from o3v.training.profile import open_profile
    from o3v.training.report import Report
    from o3v.training.speed import Speed

    run = open_run(cfg.name, resolve(cfg), build(cfg, "logger"), again=cfg.again)
    if run.result is not None:
        return run.result["box_iou"]
    captions: Captions = build(cfg, "captions")
    spec, settings = build(cfg, "model"), build(cfg, "trainer")
    policy = make_policy(spec, _tokenizer(captions, spec.family, cfg.vocab_size), cfg.seed)
    learner = Learner(policy, None, SFTObjective(trained_on="assistant"), None, None, cfg.seed, settings.passes())
    stream = CaptionStream(captions, cfg.seed, policy.family, captions.steps)
    module = GroundingModule(learner, build(cfg, "optim"), captions.steps)
    settings.profile.check(captions.steps)
    profile = open_profile(settings.profile, settings.rank, run.tracker, run.folder, learner)
    loader = BatchLoader(stream, policy, settings.num_workers, profile)
    report = Report(run.tracker, FaultLog(run.faults, 0.0, 1), settings.show_every, 0)
    speed = Speed(learner, settings.peak_tflops)
    fit(module, loader, settings, run.states, [speed, report, *([] if profile is None else [profile])])
    save_policy(policy, run.model)
    result = caption_scores(policy, captions, count=128)
    run.finish(result)
    return result["box_iou"]


def _tokenizer(captions: Captions, family_name: str, vocab_size: int) -> Any:
    """A tokenizer learned from captions and rows of the world, with the fixed texts of the prompts as single tokens."""
    from o3v.data.shapes_rows import draw_row
    from o3v.models.family import find_family
    from o3v.models.tokenizer import train_tokenizer
    from o3v.prompts.system import SYSTEM_TEXTS
    from o3v.types import Task

    family = find_family(family_name)
    corpus = [text for step in range(200) for text in _texts(captions, step * captions.steps // 200, family)]
    rows = [draw_row(captions.world, task, seed)[0] for task in Task for seed in range(300)]
    corpus += [str(row[key]) for row in rows for key in ("question", "answer")]
    corpus += [row["reasoning_process"].split("<obj>")[0] for row in rows]
    phrases = ["Frame ", " at ", "s: ", "\nThe video is in total ", " seconds.\n", *SYSTEM_TEXTS.values()]
    return train_tokenizer(corpus, phrases, vocab_size)


def _texts(captions: Captions, step: int, family: Family) -> list[str]:
    prompts = captions.prompts(0, step, family)
    return [text for p in prompts for text in (p.target or "", str(p.parts[-1]))]


def caption_scores(policy: Policy, captions: Captions, count: int) -> dict[str, float]:
    """How well the model sees, on fresh scenes: still boxes, and start, end and boxes of moving objects.

    Args:
        policy: the model.
        captions: the stream; its last stage is drawn from, with a seed of its own.
        count: batches that are looked through for the two kinds of captions that are scored.
    """
    import torch

    from o3v.grounding.parse import parse_completion
    from o3v.rollout.sampler import Sampling, sample_completions

    policy.model.eval()
    greedy = Sampling(group_size=1, temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=96, decoder="auto")
    asked = [p for k in range(count) for p in captions.prompts(99 + k, captions.steps - 1, policy.family)]
    scores: dict[str, list[float]] = {}
    for kind in ("still", "clip"):
        chosen = [p for p in asked if str(p.parts[-1]).startswith("the ") and (kind == "clip") == bool(p.clip.times_s)]
        for start in range(0, min(len(chosen), 256), 64):
            prompts = chosen[start : start + 64]
            with torch.no_grad():
                texts = sample_completions(
                    policy, policy.encode(prompts).to(policy.device), greedy, [0] * len(prompts)
                ).texts
            for prompt, text in zip(prompts, texts, strict=True):
                said = parse_completion(f"<think>{text}</think>", prompt.box_scale)
                meant = parse_completion(f"<think>{prompt.target}</think>", prompt.box_scale)
                _score(kind, said, meant, scores)
    return {name: sum(values) / len(values) for name, values in scores.items()}


def _score(kind: str, said: Any, meant: Any, scores: dict[str, list[float]]) -> None:
    from o3v.grounding.boxes import box_iou
    from o3v.grounding.spans import tiou

    def keep(name: str, value: float) -> None:
        scores.setdefault(name, []).append(value)

    if kind == "still":
        keep("box_iou", box_iou(said.think_boxes[0], meant.think_boxes[0]) if said.think_boxes else 0.0)
        return
    pairs = list(zip(said.think_boxes, meant.think_boxes, strict=False))
    keep("clip_box_iou", sum(box_iou(a, b) for a, b in pairs) / len(meant.think_boxes))
    times = said.think_times_s
    keep("clip_tiou", tiou((times[0], times[-1]), (meant.think_times_s[0], meant.think_times_s[-1])) if times else 0.0)


if __name__ == "__main__":
    main()
