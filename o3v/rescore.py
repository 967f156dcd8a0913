"""Score saved rollouts again: `python -m o3v.rescore rollouts=FILE reward=no_gate reward_b=o3 out=FILE`.

Needs no model and no GPU, and never imports torch. With `explain=ID` it takes one line apart instead.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from o3v.cli import command

if TYPE_CHECKING:
    from pathlib import Path

    from o3v.replay.format import RolloutGroup
    from o3v.rewards.mix import RewardMix


@command(config_name="rescore")
def main(cfg: DictConfig) -> float | None:
    """Re-score, compare or explain; returns the mean total of the first reward."""
    from pathlib import Path

    from o3v.config import build

    mixes = [mix for mix in (build(cfg, "reward"), build(cfg, "reward_b")) if mix is not None]
    if cfg.explain is not None:
        _explain(cfg, mixes[0])
        return None
    return _rescore(cfg, mixes, Path(cfg.rollouts))


def _rescore(cfg: DictConfig, mixes: Sequence[RewardMix], rollouts: Path) -> float | None:
    import time
    from pathlib import Path

    from o3v.replay.files import same_file, summary_path, write_json, write_lines
    from o3v.replay.run import Replay
    from o3v.replay.tables import show

    out = None if cfg.out is None else Path(cfg.out)
    if out is not None and same_file(out, rollouts):
        from o3v.errors import ConfigError

        raise ConfigError(f"out={out}: is the file of the rollouts itself")
    replay = Replay(mixes, cfg.shown)
    begin = time.perf_counter()
    lines = replay.lines(_groups(cfg, rollouts))
    if out is None:
        for _ in lines:
            pass
    else:
        write_lines(out, lines)
    summary = replay.summary() | {"seconds": round(time.perf_counter() - begin, 3)}
    if out is not None:
        write_json(summary_path(out), summary)
    show(summary, out)
    return summary["reward"]["total"]["mean"]


def _groups(cfg: DictConfig, rollouts: Path) -> Iterator[tuple[RolloutGroup, float]]:
    """Groups of the file, each with its progress of training."""
    from o3v.errors import DataError
    from o3v.replay.format import read_rollouts

    for group in read_rollouts(rollouts):
        progress = group.progress if cfg.progress is None else float(cfg.progress)
        if progress is None:
            raise DataError(
                f"{rollouts}: line {group.id} has no step_percent; give progress=SHARE (1 = end of training)"
            )
        yield group, progress


def _explain(cfg: DictConfig, mix: RewardMix) -> None:
    from pathlib import Path

    from o3v.replay.explain import choose, explain
    from o3v.replay.tables import show_explanation

    group, indices, progress = choose(_groups(cfg, Path(cfg.rollouts)), cfg.explain)
    for index in indices:
        explanation = explain(mix, group, index, progress)
        show_explanation(explanation, _draw(cfg, explanation))


def _draw(cfg: DictConfig, explanation: Any) -> str:
    """Draws an explanation where its media can be read; says where, or why not."""
    from pathlib import Path

    from o3v.errors import MediaError
    from o3v.evidence.explain import explanation_clip, explanation_picture
    from o3v.replay.files import safe_name

    sample = explanation.sample
    if sample.video_path is None and sample.image_path is None:
        return "no picture: the line names no media"
    try:
        clip = explanation_clip(explanation, None if cfg.media_root is None else Path(cfg.media_root))
    except MediaError as error:
        return f"no picture: {error}"
    path = Path(cfg.out or f"{cfg.paths.output_dir}/explanations")
    folder = path if path.suffix == "" else path.parent
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{safe_name(f'{explanation.id}-{explanation.index}')}.png"
    explanation_picture(clip, explanation).save(target)
    return f"picture {target}"


def start() -> None:
    """The command; `reward_b=FILE` is short for Hydra's `reward@reward_b=FILE`."""
    sys.argv = [f"reward@{part}" if part.startswith("reward_b=") else part for part in sys.argv]
    main()


if __name__ == "__main__":
    start()
