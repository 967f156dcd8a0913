"""Completions as rows of a table: what was asked, what was answered, what each reward term gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from o3v.types import Completion, RewardTable, Sample


def completion_rows(
    sample: Sample, completions: Sequence[Completion], rewards: RewardTable, advantages: Sequence[float]
) -> list[dict[str, Any]]:
    """One row a completion of a prompt.

    Args:
        sample: what was asked.
        completions: G of them.
        rewards: their rewards; terms that do not apply to the task are None, so that they do not look like a zero.
        advantages: G numbers.

    Returns:
        G dicts with `sample`, `task`, `question`, `text`, one column a term, `total`, `advantage` and one column a
        diagnostic.

    Raises:
        ValueError: unequal counts.
    """
    rows = []
    for g, (completion, values, total, advantage) in enumerate(
        zip(completions, rewards.values, rewards.totals, advantages, strict=True)
    ):
        columns = zip(rewards.terms, values, rewards.applies, strict=True)
        rows.append(
            {
                "sample": sample.id,
                "task": str(sample.task),
                "question": sample.question,
                "text": completion.text,
                **{term: float(value) if applies else None for term, value, applies in columns},
                "total": float(total),
                "advantage": float(advantage),
                **{name: float(column[g]) for name, column in rewards.diagnostics.items()},
            }
        )
    return rows
