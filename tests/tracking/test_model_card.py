"""The card as text: its front matter is read, its tables have what the record has, nothing of a run becomes markup."""

import ast
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.tracking.model_card import card_text, load_snippet

SCORE = {
    "folder": "evaluate-1",
    "title": "model on shapes (corrected)",
    "label": "model",
    "columns": {
        "acc": {"value": 0.25, "low": 0.2, "high": 0.3, "n": 256},
        "reward/total": {"value": 2.5, "low": 2.4, "high": 2.6, "n": 256},
        "empty": {"value": None, "low": None, "high": None, "n": 0},
        "open": {"value": 0.5, "low": None, "high": None, "n": 1},
    },
}
RECORD = {
    "family": "qwen2_5_vl",
    "run": "gspo-1",
    "base_model": "Qwen/Qwen2.5-VL-7B-Instruct",
    "base": "Qwen/Qwen2.5-VL-7B-Instruct",
    "parameters": 8292166656,
    "mix": {"source": {"gqa": {"samples": 30.0, "share": 0.3}}, "task": {}},
    "objective": "Policy(a=1)",
    "rewards": {"ans_acc": 1.0, "format": 0.5},
    "summary": {"loss": 0.123456789},
    "config_file": "training.yaml",
    "scores": [SCORE],
}


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_a_full_card():
    text = card_text(RECORD)
    assert front_matter(text) == {
        "library_name": "transformers",
        "pipeline_tag": "video-text-to-text",
        "base_model": "Qwen/Qwen2.5-VL-7B-Instruct",
        "license": "unknown",
        "tags": ["o3v", "video", "grounding", "qwen2_5_vl"],
    }
    for line in (
        "- parameters: 8,292,166,656",
        "| gqa | 30 | 30.0% |",
        "- reward: ans_acc 1, format 0.5",
        "| loss | 0.123457 |",
        "| acc | 25.0 | 20.0 to 30.0 | 256 |",
        "| reward/total | 2.500 | 2.400 to 2.600 | 256 |",
        "| open | 50.0 | - to - | 1 |",
        "vllm serve . --limit-mm-per-prompt '{\"image\": 64}'",
    ):
        assert line in text.splitlines(), line
    assert "| empty |" not in text and "task | samples" not in text


def test_little_is_known():
    text = card_text({"family": "qwen3_vl"})
    assert "# qwen3_vl" in text and "base_model" not in text and "## Data" not in text
    assert "No finished evaluation of this model was found." in text


@pytest.mark.parametrize("is_adapter", [False, True])
def test_what_loads_it_is_python_within_the_fence(is_adapter):
    text = card_text(RECORD | {"is_adapter": is_adapter})
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ast.parse(code)
    assert code == load_snippet(is_adapter, RECORD["base"])
    assert ("PeftModel" in code) == is_adapter == (front_matter(text)["library_name"] == "peft")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_names_of_a_run_stay_text(name, value):
    """A source's or a folder's name neither ends a table nor starts a tag nor the front matter."""
    counts = {name: {"samples": 1.0, "share": 1.0}}
    text = card_text({"family": "qwen3_vl", "init_from": value, "license": value, "mix": {"source": counts}})
    assert front_matter(text)["license"] == (value or "unknown")
    body = text.split("## Data")[1].split("## Scores")[0]
    rows = [line for line in body.splitlines() if line]
    assert len(rows) == 3 and all(len(re.findall(r"(?<!\\)\|", row)) == 4 for row in rows)
    assert "<" not in body and ">" not in body
