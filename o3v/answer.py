"""Ask about any video: `python -m o3v.answer video=clip.mp4 question="When is the red circle seen?"`.

Writes a picture and a short film of the reasoning, with its boxes and times drawn on the frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from o3v.types import Sample


@command(config_name="answer")
def main(cfg: DictConfig) -> float | None:
    """Answer one question, print it, draw it."""
    from pathlib import Path

    from rich.console import Console

    from o3v.config import build
    from o3v.data.prepare import Preparer
    from o3v.evidence.draw import evidence_picture
    from o3v.evidence.film import evidence_film
    from o3v.grounding.parse import parse_completion
    from o3v.models.load import load_policy
    from o3v.respond import respond_with
    from o3v.tracking.run import RunFolder

    folder = RunFolder(Path(cfg.out or f"{cfg.paths.output_dir}/answers"))
    folder.create()
    sample = _question(cfg)
    spec = build(cfg, "model")
    policy = load_policy(spec, cfg.checkpoint)
    prompt = Preparer(build(cfg, "data.reader"), policy.family)(sample)
    text = respond_with(policy, build(cfg, "rollout"), cfg.seed)([prompt])[0]
    completion = parse_completion(text, prompt.box_scale)
    stem = folder.path / f"{Path(cfg.video).stem}-{_slug(cfg.question)}"
    evidence_picture(prompt.clip, completion, cfg.question, None).save(f"{stem}.png")
    evidence_film(prompt.clip, completion, cfg.question, Path(f"{stem}.mp4"))
    console = Console()
    console.print(text, markup=False, highlight=False)
    console.print(f"\npicture {stem}.png\nfilm    {stem}.mp4", markup=False, highlight=False)
    return None


def _question(cfg: DictConfig) -> Sample:
    """A sample without an answer, about a video or a still image."""
    from pathlib import Path

    from o3v.errors import ConfigError
    from o3v.types import Sample, Task

    tasks = {task.name.lower(): task for task in Task}
    if cfg.task not in tasks:
        raise ConfigError(f"task={cfg.task!r} is not known; allowed are {sorted(tasks)}")
    path = Path(cfg.video)
    is_image = path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".bmp")
    return Sample(
        id=path.name,
        source="own",
        task=tasks[cfg.task],
        question=str(cfg.question),
        answer="",
        reasoning="",
        video_path=None if is_image else path,
        image_path=path if is_image else None,
        key_frames=(),
        span_s=None,
        box=None,
        letter=None,
    )


def _slug(question: str) -> str:
    """Letters and digits of a question, for a file name.

    >>> _slug("Where is the red ball?")
    'where-is-the-red-ball'
    """
    words = "".join(c if c.isalnum() else " " for c in question.lower()).split()
    return "-".join(words)[:60] or "question"


if __name__ == "__main__":
    main()
