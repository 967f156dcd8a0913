"""A check with the settings of conf/check.yaml, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from o3v.cli import conf_folder
from o3v.data.stgr import StgrDataset
from o3v.datacheck.checking import CheckSettings, Outcome, check
from o3v.datacheck.findings import Severities
from o3v.datacheck.leaks import AskedVideos, asked_videos
from o3v.datacheck.memory import Memory
from o3v.datacheck.pool import PoolSettings
from o3v.datacheck.subjects import dataset_subject
from o3v.datacheck.tokens import Budget
from o3v.video.reader import ClipReader
from o3v.video.sampling import FrameSampling
from tests.datacheck.rows import LIMITS

POOL = PoolSettings(workers=2, limit_s=20.0, memory_gib=4.0)


def severities(**values: str) -> Severities:
    """As configured, with other values for some kinds."""
    configured = yaml.safe_load((conf_folder() / "check.yaml").read_text())["severity"]
    configured.pop("_target_")
    return Severities(**{**configured, **values})


def budget(**reader: Any) -> Budget:
    sampling = FrameSampling(max_frames=16, min_frames=4, fps=2.0, insert_key_frames=True)
    sizes = {"min_pixels": 3136, "max_pixels": 100352, "image_max_pixels": 200704, "max_total_tokens": 8192}
    return Budget(ClipReader(sampling=sampling, **(sizes | reader)), 28, None, 768, None)


def run(
    root: Path,
    file: Path,
    memory: Memory | None = None,
    asked: AskedVideos | None = None,
    pool: PoolSettings = POOL,
    tokens: Budget | None = None,
    **kinds: str,
) -> Outcome:
    """Checks an STGR file."""
    dataset = StgrDataset(root=str(root), annotation_file=str(file.relative_to(root)), max_fault_share=1.0)
    subject = dataset_subject(dataset, LIMITS, None)
    found = CheckSettings(severities(**kinds), LIMITS, pool, True, "ends")
    return check(subject, found, memory or Memory(None), tokens or budget(), asked or asked_videos({}), quiet)


def quiet(stage: str, done: int, total: int) -> None:
    """Shows nothing."""


def kinds_of(outcome: Outcome) -> dict[int, list[str]]:
    """Number of a row -> kinds of its findings."""
    found: dict[int, list[str]] = {}
    for finding in outcome.findings:
        found.setdefault(finding.row, []).append(finding.kind)
    return found
