"""Peaks by the names that CUDA gives devices."""

import pytest

from o3v.training.peak import PEAK_TFLOPS, peak_tflops


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA A100-PCIE-40GB", 312.0),
        ("NVIDIA A100 80GB PCIe", 312.0),
        ("NVIDIA H100 80GB HBM3", 989.5),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H200", 989.5),
        ("NVIDIA H200 NVL", 835.5),
        ("NVIDIA L40S", 362.05),
        ("NVIDIA RTX A6000", 154.85),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA L4", 121.0),
    ],
)
def test_known_devices(name, peak):
    assert peak_tflops(name) == peak


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA L40",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA RTX 6000 Ada Generation",
        "NVIDIA A10G",
        "NVIDIA A1000",
        "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
        "Tesla V100-SXM2-16GB",
        "",
    ],
)
def test_unknown_devices_and_parts_of_one_have_none(name):
    assert peak_tflops(name) is None


def test_every_entry_is_reached():
    assert len({pattern for pattern, _ in PEAK_TFLOPS}) == len(PEAK_TFLOPS)
    assert all(
        peak_tflops(f"NVIDIA {pattern.removesuffix('.*').replace(chr(92) + 'b', '')}") == peak
        for pattern, peak in PEAK_TFLOPS
    )
