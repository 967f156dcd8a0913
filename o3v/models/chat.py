"""A text model that answers chats, for judging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from o3v.errors import ConfigError

Messages = Sequence[Mapping[str, str]]
"""A chat: each message with `role` and `content`."""


@dataclass(frozen=True)
class Chat:
    """A loaded text model.

    Attributes:
        model: a causal language model of transformers.
        tokenizer: with a chat template; pads on the left.
    """

    model: Any
    tokenizer: Any

    def reply(self, chats: Sequence[Messages], max_new_tokens: int) -> list[str]:
        """The assistant's greedy answer to each chat, without special tokens."""
        import torch

        texts = [
            self.tokenizer.apply_chat_template([dict(m) for m in chat], tokenize=False, add_generation_prompt=True)
            for chat in chats
        ]
        inputs = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = inputs.to(self.model.device)
        with torch.inference_mode():
            ids = self.model.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        new = ids[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.tokenizer.batch_decode(new, skip_special_tokens=True)]


def load_chat(path: str, root: str, dtype: str, device: str) -> Chat:
    """Load a text model from disk; nothing is downloaded.

    Args:
        path: folder in the layout of Hugging Face; a relative name is looked up below `root`.
        root: folder of downloaded models.
        dtype: float32, bfloat16 or float16.
        device: cpu, cuda, or auto (spread over GPUs).

    Raises:
        ConfigError: no such folder, an unknown dtype, or a tokenizer without a chat template.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(root) / path
    if not (folder / "config.json").is_file():
        raise ConfigError(f"judge.path={path!r}: no config.json in {folder.absolute()}")
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"judge.dtype={dtype!r} is not allowed; allowed are float32, bfloat16, float16")
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", local_files_only=True)
    if not tokenizer.chat_template:
        raise ConfigError(f"{folder}: its tokenizer has no chat template, so it cannot judge")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), local_files_only=True, device_map=device
    )
    return Chat(model.eval(), tokenizer)
