"""The README.md of an exported model: what it is, what it learned from, how it scored, how it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import yaml

from o3v.prompts.system import SYSTEM_TEXTS
from o3v.types import Task

CARD, RECORD = "README.md", "training.json"

_LOAD: Final = """\
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

{load}
processor = AutoProcessor.from_pretrained({processor})
frames = [(0.0, Image.new("RGB", (112, 112))), (1.0, Image.new("RGB", (112, 112)))]  # your video: (seconds, picture)
content = []
for number, (seconds, picture) in enumerate(frames, start=1):
    content += [{{"type": "text", "text": f"Frame {{number}} at {{seconds:.1f}}s: "}}]
    content += [{{"type": "image", "image": picture}}, {{"type": "text", "text": "\\n"}}]
content += [{{"type": "text", "text": "The video is in total 2.0 seconds.\\nWhen is the red circle seen?"}}]
system = {system}
messages = [
    {{"role": "system", "content": [{{"type": "text", "text": system}}]}},
    {{"role": "user", "content": content}},
]
inputs = processor.apply_chat_template(
    messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
with torch.no_grad():
    ids = model.generate(**inputs.to(model.device), max_new_tokens=64)
answer = processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
"""
_WHOLE: Final = 'model = AutoModelForImageTextToText.from_pretrained(".", dtype="auto")  # this folder'
_ADAPTER: Final = """\
from peft import PeftModel

base = {base!r}
model = AutoModelForImageTextToText.from_pretrained(base, dtype="auto")
model = PeftModel.from_pretrained(model, ".")  # this folder"""
_SERVE: Final = """\
vllm serve . --limit-mm-per-prompt '{"image": 64}'
"""


def card_text(record: Mapping[str, Any]) -> str:
    """The card of a record (`o3v.tracking.model_record`) to which an export has added what it wrote.

    Args:
        record: beside what `run_record` gives, `family`, `dtype`, `parameters`, `base_model` (on the hub, or None),
            `base` (what adapters are loaded onto), `license`, `is_adapter`, `progress`, `config_file` and `scores`;
            all but `family` may be missing.

    Returns:
        Markdown with the front matter that the Hugging Face hub reads.
    """
    parts = [
        _front_matter(record),
        f"# {record.get('run') or record['family']}",
        _about(record),
        *_section("Data", _mix(record.get("mix") or {})),
        *_section("Training", _training(record)),
        *_section("Scores", _scores(record.get("scores") or [])),
        *_section("Loading", _loading(record)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def load_snippet(is_adapter: bool, base: str) -> str:
    """Python that loads the folder in which it runs and asks it about a video.

    Args:
        is_adapter: the folder holds adapters alone.
        base: repository or folder of the model that they belong to.
    """
    load = _ADAPTER.format(base=base) if is_adapter else _WHOLE
    place = "base" if is_adapter else '"."'
    return _LOAD.format(load=load, processor=place, system=repr(SYSTEM_TEXTS[Task.TEMPORAL_QA]))


def _front_matter(record: Mapping[str, Any]) -> str:
    about = {
        "library_name": "peft" if record.get("is_adapter") else "transformers",
        "pipeline_tag": "video-text-to-text",
        "base_model": record.get("base_model"),
        "license": record.get("license") or "unknown",
        "tags": ["o3v", "video", "grounding", record["family"]],
    }
    kept = {key: value for key, value in about.items() if value is not None}
    return f"---\n{yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)}---"


def _about(record: Mapping[str, Any]) -> str:
    kind = "Adapters for a" if record.get("is_adapter") else "A"
    known = [("run", "run"), ("code", "commit"), ("started from", "init_from"), ("number type", "dtype")]
    known += [("parameters", "parameters"), ("checkpoint", "progress")]
    told = [f"{name}: {_cell(record[key])}" for name, key in known if record.get(key) is not None]
    text = f"{kind} {record['family']} that answers questions about videos with its evidence: when, what and where."
    return "\n\n".join([text, "\n".join(f"- {one}" for one in told)])


def _mix(mix: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    tables = []
    for name, counts in mix.items():
        rows = [(key, f"{one['samples']:.0f}", f"{one['share']:.1%}") for key, one in sorted(counts.items())]
        tables += [_table((name, "samples", "share"), rows)] if rows else []
    return "\n\n".join(tables)


def _training(record: Mapping[str, Any]) -> str:
    lines = [f"- objective: `{record['objective']}`"] if record.get("objective") else []
    rewards = [f"{name} {weight:g}" for name, weight in (record.get("rewards") or {}).items()]
    lines += [f"- reward: {', '.join(rewards)}"] if rewards else []
    for name in ("global_batch", "seed"):
        lines += [f"- {name.replace('_', ' ')}: {record[name]}"] if record.get(name) is not None else []
    if record.get("packages"):
        lines.append("- " + ", ".join(f"{name} {version}" for name, version in record["packages"].items()))
    if record.get("config_file"):
        lines.append(f"- every setting: [{record['config_file']}]({record['config_file']})")
    rows = [(name, f"{value:.6g}") for name, value in (record.get("summary") or {}).items()]
    table = _table(("last value of", ""), rows) if rows else ""
    return "\n\n".join(part for part in ("\n".join(lines), table) if part)


def _scores(scores: Sequence[Mapping[str, Any]]) -> str:
    if not scores:
        return "No finished evaluation of this model was found."
    return "\n\n".join(f"**{one['title']}** ({one['folder']})\n\n{_score_table(one['columns'])}" for one in scores)


def _score_table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, one in columns.items():
        if one.get("value") is not None:
            factor, digits = (1, 3) if name.startswith("reward/") else (100, 1)
            ends = [one.get(end) for end in ("low", "high")]
            interval = " to ".join("-" if end is None else f"{factor * end:.{digits}f}" for end in ends)
            rows.append((name, f"{factor * one['value']:.{digits}f}", interval, str(one.get("n", ""))))
    return _table(("x 100, rewards as they are", "mean", "95 % interval", "n"), rows)


def _loading(record: Mapping[str, Any]) -> str:
    is_adapter, base = bool(record.get("is_adapter")), str(record.get("base") or "BASE")
    python = f"In this folder:\n\n```python\n{load_snippet(is_adapter, base)}```"
    return python if is_adapter else f"{python}\n\nWith vLLM:\n\n```bash\n{_SERVE}```"


def _section(title: str, text: str) -> list[str]:
    return [f"## {title}", text] if text else []


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: object) -> str:
    r"""A text that stays in its cell and is no markup.

    >>> _cell("a|b<i>"), _cell(12345)
    ('a\\|b&lt;i&gt;', '12,345')
    """
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
