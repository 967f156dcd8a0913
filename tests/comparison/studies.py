"""Studies made by hand: run folders with real answers to the generated world, or with plain scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from o3v.benchmarks.exam import baseline_results, exam_of
from o3v.benchmarks.records import Identity, Record, make_record, write_records
from o3v.benchmarks.report import build_report
from o3v.grounding.render import render_target
from o3v.tracking.run import RunFolder
from o3v.types import BoxScale, Claim

SCALE = BoxScale(1000, 1000)


@dataclass(frozen=True)
class Run:
    """As `o3v.study.StageRun`, as far as a comparison asks."""

    key: str
    stage: str
    command: str
    folder: Path
    benchmark: str | None
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """As `o3v.study.Study`."""

    name: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: Mapping[str, Run]
    members: Mapping[tuple[str, int], tuple[str, ...]]
    folder: Path
    baseline: str = "base"
    title: str = "A study"
    question: str = "Which arm is better?"
    stages: tuple[str, ...] = ("rl", "eval_made")
    metrics: tuple[str, ...] | None = None
    published: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)


def declare(root: Path, arms=("base", "arm"), seeds=(0, 1, 2), benchmark="made", **more) -> Study:
    """A study with a training and an evaluation for every arm and seed, nothing run yet."""
    runs, members = {}, {}
    for arm in arms:
        for seed in seeds:
            train, evaluation = f"rl-{arm}{seed}", f"eval_{benchmark}-{arm}{seed}"
            runs[train] = Run(train, "rl", "train", root / train, None)
            runs[evaluation] = Run(evaluation, f"eval_{benchmark}", "evaluate", root / evaluation, benchmark)
            members[arm, seed] = (train, evaluation)
    stages = ("rl", f"eval_{benchmark}")
    return Study("made", tuple(arms), tuple(seeds), runs, members, root / "studies" / "made", stages=stages, **more)


def record(key, scores, video=None, **changes) -> Record:
    fields = {
        "sample_id": key, "source": "s", "task": "mcq", "video": video or key, "model": "m", "run": "r", "seed": 0,
        "prompt_hash": "h", "frames": 16, "pixels": 100, "text": "t", "scores": scores, "error": None,
    }  # fmt: skip
    return Record(**(fields | changes))


def finish(folder: Path, records=None, report=None, curves=None) -> None:
    """Makes a run's folder look finished."""
    files = RunFolder(folder)
    files.create()
    if records is not None:
        write_records(folder / "records.jsonl", records)
    if report is not None:
        files.write_json("report.json", report)
    if curves is not None:
        write_curves(folder, curves)
    files.mark_done({"folder": str(folder)})


def write_curves(folder: Path, curves: Mapping[str, list[float]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    length = max(len(values) for values in curves.values())
    lines = [
        {"step": step, "time_ms": 1_700_000_000_000 + step, "values": {k: v[step] for k, v in curves.items()}}
        for step in range(length)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def scored(study: Study, scores: Mapping[tuple[str, int], np.ndarray], videos=None, column="acc") -> None:
    """Finishes the evaluations of a study with plain scores, question by question."""
    for (arm, seed), values in scores.items():
        videos_of = videos if videos is not None else [f"v{i}" for i in range(len(values))]
        records = [record(f"q{i:03d}", {column: float(v)}, videos_of[i]) for i, v in enumerate(values)]
        finish(study.runs[study.members[arm, seed][-1]].folder, records)


def curves_of(rng, steps: int, gain: float) -> dict[str, list[float]]:
    """Something like a training."""
    t = np.linspace(0, 1, steps)

    def rising(low, high, noise):
        return (low + (high - low) * (1 - np.exp(-3 * t)) + noise * rng.standard_normal(steps)).tolist()

    return {
        "train/reward": rising(1.6, 2.2 + gain, 0.08),
        "train/reward/ans_acc": rising(0.2, 0.35 + gain / 4, 0.03),
        "train/reward/ans_tiou": rising(0.1, 0.3 + gain / 2, 0.02),
        "train/reward/thk_spatial": rising(0.3, 0.5, 0.03),
        "train/reward/format": rising(0.6, 0.98, 0.02),
        "train/loss": (0.002 * rng.standard_normal(steps)).tolist(),
        "train/kl": rising(0.0, 0.05 + gain / 10, 0.002),
        "train/clip_frac": np.abs(rising(0.05, 0.1, 0.02)).tolist(),
        "train/gate_open": rising(0.2, 0.6 + gain / 3, 0.03),
        "train/completion_length": rising(60, 75, 1.5),
        "train/faults": [0.0] * steps,
    }


def answered_text(sample, rng, skill: float) -> str:
    """An answer to a sample of the generated world; better with more skill."""
    box = sample.box or (0.2, 0.2, 0.6, 0.6)
    noise = (1.15 - skill) * 0.35
    claims = [
        Claim(name, (_moved(boxes[0], rng, noise),), max(0.0, frame.time_s + round(rng.normal(0, 3 * noise))))
        for frame in sample.key_frames[:3]
        for name, boxes in frame.boxes.items()
        if boxes
    ]
    think = "I see " + ", ".join(
        f"<obj>{c.name}</obj><box>[{','.join(map(str, SCALE.to_model(c.boxes[0])))}]</box>at<t>{c.time_s:.1f}</t>s"
        for c in claims
    )
    if sample.span_s is not None:
        begin, end = sorted(max(0.0, t + rng.normal(0, 3 * noise)) for t in sample.span_s)
        answer = f"From <t>{begin:.1f}</t>s to <t>{end:.1f}</t>s"
    elif sample.box is not None:
        answer = f"<box>[{','.join(map(str, SCALE.to_model(_moved(box, rng, noise))))}]</box>"
    else:
        answer = sample.answer if rng.random() < skill else "something else"
    if rng.random() < 0.05:
        return "no idea <script>document.title='owned'</script><img src=x onerror=alert(1)>"
    return render_target(think, answer)


def _moved(box, rng, noise):
    x1, y1, x2, y2 = (min(max(v + rng.normal(0, noise / 3), 0.0), 1.0) for v in box)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def play(study, benchmark, skills: Mapping[str, float], steps: int = 36) -> None:
    """Runs a study on a benchmark of the generated world, with answers made up instead of a model's."""
    exam = exam_of(benchmark)
    trivial = baseline_results(benchmark, exam)
    for (arm, seed), keys in study.members.items():
        rng = np.random.default_rng([seed, study.arms.index(arm)])
        for run in (study.runs[key] for key in keys):
            if run.benchmark is None:
                finish(run.folder, curves=curves_of(rng, steps, skills[arm] - 0.5))
                continue
            records = _answers(exam, rng, skills[arm] + 0.03 * rng.standard_normal())
            report = build_report("t", trivial | {"model": records}, benchmark, [("model", name) for name in trivial])
            finish(run.folder, records, report.to_json())


def _answers(exam, rng, skill):
    found = []
    for question in exam.questions:
        text = answered_text(question.truth["sample"], rng, skill)
        scores = exam.score(question, text, SCALE)
        found.append(make_record(question, Identity("m", "r", 0), None, text, scores, None, exam.versions, SCALE))
    return found
