"""How a written model answers where nobody says otherwise: the generation configuration of its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from o3v.models.policy import banned_ids

_ENDS = ("<|im_end|>", "<|endoftext|>")


def write_generation_config(folder: Path, tokenizer: Any, sampling: Mapping[str, Any] | None) -> None:
    """Put the settings of `generation_config` into generation_config.json of a Hugging Face folder.

    What stands there from a published model is kept; what the library made up from the model's sizes is not, because it
    makes that up anew wherever it finds it.
    """
    path = folder / "generation_config.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if kept.get("_from_model_config"):
        kept = {}
    whole = {
        name: value for name, value in (kept | generation_config(tokenizer, sampling)).items() if value is not None
    }
    path.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def generation_config(tokenizer: Any, sampling: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings under which plain `generate` draws from the distribution that the rollout drew from.

    Args:
        tokenizer: of the model.
        sampling: `temperature` (0 is greedy), `top_p`, `top_k` (0 is off) and `max_new_tokens` of a rollout; None says
            nothing of them.

    Returns:
        Keywords of transformers' GenerationConfig; None unsets one. Tokens that end a turn and that fill rows are among
        them, and in `suppress_tokens` those that a policy never writes: vision tokens and the openings of a turn.
    """
    ids = tokenizer.get_vocab()
    ends = [ids[name] for name in _ENDS if name in ids]
    never = [token for token in banned_ids(ids) if token not in ends]
    tokens = {"eos_token_id": ends, "pad_token_id": tokenizer.pad_token_id, "suppress_tokens": never}
    if sampling is None:
        return tokens
    if not sampling["temperature"]:
        drawn: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    else:
        drawn = {"do_sample": True} | {name: sampling[name] for name in ("temperature", "top_p", "top_k")}
    return tokens | drawn | {"max_new_tokens": sampling["max_new_tokens"]}
