"""The vision tower's windows in few calls, against the library's attention window by window."""

import copy

import pytest
import torch

from o3v.models import vision_attention
from o3v.models.vision_attention import VISION_ATTENTION
from tests import tiny


def features(policy, encoded, attention):
    """What the tower says of all images, and the gradient of its weights."""
    visual = copy.deepcopy(policy.model.model.visual)
    visual.config._attn_implementation = attention
    out = visual(encoded.pixel_values, grid_thw=encoded.image_grid_thw).pooler_output
    (out * torch.linspace(-1, 1, out.numel(), device=out.device, dtype=out.dtype).view_as(out)).sum().backward()
    return out.detach(), torch.cat([p.grad.flatten() for p in visual.parameters() if p.grad is not None])


def test_a_loaded_model_has_it(policy):
    assert policy.model.model.visual.config._attn_implementation == VISION_ATTENTION


def test_equal_to_the_librarys_windows(policy):
    encoded = policy.encode(tiny.mixed_prompts(policy))
    wanted, found = (features(policy, encoded, name) for name in ("sdpa", VISION_ATTENTION))
    assert torch.allclose(found[0], wanted[0], atol=1e-5)
    assert float((found[1] - wanted[1]).norm() / wanted[1].norm()) < 1e-5


def test_windows_that_see_each_other_are_caught(policy, monkeypatch):
    encoded = policy.encode(tiny.mixed_prompts(policy))
    wanted = features(policy, encoded, "sdpa")[0]
    original = vision_attention._runs
    monkeypatch.setattr(vision_attention, "_runs", lambda q, k, v, lengths, s: original(q, k, v, [sum(lengths)], s))
    assert float((features(policy, encoded, VISION_ATTENTION)[0] - wanted).abs().max()) > 0.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_equal_on_a_gpu(policy):
    """In bfloat16 by the kernel for rows of different length, as far from float32 as the library is."""
    on_gpu = copy.deepcopy(policy.model).cuda()
    encoded = policy.encode(tiny.mixed_prompts(policy)).to("cuda")

    class Moved:
        model = on_gpu

    exact = features(Moved, encoded, "sdpa")
    on_gpu.bfloat16()
    for part in (0, 1):
        wanted, found = (features(Moved, encoded, name)[part].float() for name in ("sdpa", VISION_ATTENTION))
        size = exact[part].norm()
        assert float((found - exact[part]).norm() / size) < 1.5 * float((wanted - exact[part]).norm() / size) + 1e-2
