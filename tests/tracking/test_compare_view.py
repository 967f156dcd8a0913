"""MLflow's own compare view of four arms opens and shows what was logged."""

import os
from pathlib import Path

import pytest

from tests.tracking.compare_view import ARMS, METRIC, browse, compare_address, write_study
from tests.tracking.servers import Server, free_port


@pytest.mark.slow
def test_four_arms_beside_each_other(chromium, tmp_path):
    server = Server(tmp_path / "server", free_port())
    server.folder.mkdir()
    runs = write_study(server)
    try:
        server.start()
        address = compare_address(server, [runs[(arm, 0)] for arm in ARMS])
        page = browse(chromium, address, "--dump-dom")
        kept = Path(os.environ.get("O3V_PICTURES", tmp_path)) / "mlflow_compare.png"
        browse(chromium, address, f"--screenshot={kept}")
    finally:
        server.kill()
    assert METRIC in page
    for arm in ARMS:
        assert f"{arm} seed 0" in page
    assert kept.stat().st_size > 10_000
