"""Adapters on weights in 4 bits: needs a GPU and bitsandbytes (pip install -e '.[qlora]')."""

import json
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from o3v.models.load import load_policy, save_policy
from tests import tiny

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or find_spec("bitsandbytes") is None, reason="needs a GPU and bitsandbytes"
)


def logits(policy, encoded):
    with torch.no_grad():
        return policy.model(**encoded.to("cuda").inputs()).logits.float()


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize(
    "names", [("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), ("q_proj",)]
)
def test_only_adapters_learn_and_the_export_computes_what_the_adapter_does(family, names, tmp_path):
    save_policy(tiny.random_policy(family, 1.0, 0), tmp_path / "whole")
    base = tiny.spec(family)
    spec = replace(base, dtype="bfloat16", quantization="nf4", lora=replace(base.lora, rank=4, target_modules=names))
    policy = load_policy(spec, tmp_path / "whole")
    policy.model.cuda()
    quantised = [n for n, m in policy.model.named_modules() if type(m).__name__ == "Linear4bit"]
    assert quantised and not any("visual" in n or "lm_head" in n for n in quantised)
    learned = [p for n, p in policy.model.named_parameters() if p.requires_grad]
    assert learned and {p.dtype for p in learned} == {torch.float32}
    encoded = policy.encode(tiny.mixed_prompts(policy)[:1])
    optimizer = torch.optim.AdamW(learned, lr=1e-2)
    for _ in range(3):
        policy.model(**encoded.to("cuda").inputs()).logits.float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    save_policy(policy, tmp_path / "out")
    assert "quantization_config" not in json.loads((tmp_path / "out/config.json").read_text())
    assert type(policy.model).__name__.endswith("ForConditionalGeneration") and policy.model.is_quantized
    plain = load_policy(replace(base, dtype="bfloat16"), tmp_path / "out")
    plain.model.cuda()
    one, two = logits(policy, encoded), logits(plain, encoded)
    assert (one - two).abs().max() < 0.05 * one.abs().max()  # bf16 against bf16
