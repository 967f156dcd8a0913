"""Whole stages on real files, both families: train, continue with RL, evaluate, answer."""

import json
from pathlib import Path

import pytest

from o3v.errors import ConfigError, DataError
from o3v.video.decode import probe
from tests import commands, tiny
from tests.commands import GROUP, LETTERS, QUIET, SMALL, metrics, run_folder

SHARED = Path(__file__).parents[2] / "shared" / "data" / "stgr_real"
has_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not here: the real clip and its rows")
STEPS = ("trainer.batches=3", "trainer.prompts_per_device=2", "trainer.show_every=2", "trainer.save_every=2")
MLFLOW = "logger=mlflow"


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def stages(request, tmp_path_factory):
    """SFT, then GSPO on its export; returns the output folder, the overrides of the model and what each returned."""
    out = tmp_path_factory.mktemp(request.param)
    base = tiny.saved_policy(request.param, out / "base")
    model = (f"model=tiny_{request.param}", MLFLOW, *QUIET, *SMALL)
    loss = commands.run("train", out, *model, *STEPS, "name=sft", f"init_from={base}", "optim.warmup=0")
    init = f"init_from={run_folder(out, 'sft')}"
    reward = commands.run("train", out, *model, *STEPS, "name=gspo", "objective=gspo", GROUP, *LETTERS, init)
    return out, model, loss, reward


def test_both_stages_train_and_export(stages):
    out, _, loss, reward = stages
    assert 2 < loss < 10 and 0 < reward <= 5
    for name in ("sft", "gspo"):
        folder = run_folder(out, name)
        done = json.loads((folder / "DONE.json").read_text())
        assert done["batches"] == 3 and (Path(done["model"]) / "model.safetensors").is_file()
        assert (folder / "states" / "last.ckpt").is_file() and not (folder / "faults.jsonl").exists()
    weights = [(run_folder(out, name) / "model" / "model.safetensors").read_bytes() for name in ("sft", "gspo")]
    assert weights[0] != weights[1] != (out / "base" / "model.safetensors").read_bytes()


def test_metrics_of_every_batch(stages):
    sft, gspo = (metrics(run_folder(stages[0], name)) for name in ("sft", "gspo"))
    for step in range(3):
        assert {(step, "train/loss"), (step, "train/grad_norm"), (step, "train/lr"), (step, "train/faults")} <= set(sft)
        assert {(step, "train/reward"), (step, "train/zero_variance"), (step, "train/reward/format")} <= set(gspo)


def test_mlflow_has_the_runs_their_metrics_and_tables(stages):
    import mlflow

    out = stages[0]
    client = mlflow.MlflowClient(f"sqlite:///{out}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "o3v"]
    runs = {run.info.run_name.split("-")[0]: run for run in client.search_runs([experiment.experiment_id])}
    assert {"sft", "gspo"} <= set(runs)
    assert all(run.info.status == "FINISHED" for run in runs.values())
    history = client.get_metric_history(runs["gspo"].info.run_id, "train/reward")
    assert [point.step for point in history] == [0, 1, 2]
    files = {file.path for file in client.list_artifacts(runs["gspo"].info.run_id)}
    assert {"config.yaml", "tables", "images"} <= files
    assert runs["gspo"].data.params["seed"] == "0" and "reward/terms/letters/_target_" in runs["gspo"].data.params


def test_completions_and_pictures_are_kept(stages):
    folder = run_folder(stages[0], "gspo")
    rows = [json.loads(line) for line in (folder / "tables" / "completions.jsonl").read_text().splitlines()]
    assert {row["step"] for row in rows} == {0, 2} and len(rows) == 2 * 2 * 3
    assert [path.name for path in sorted((folder / "images").iterdir())] == [f"evidence_{k:08d}.png" for k in (0, 2)]


def test_evaluation(stages):
    out, model, *_ = stages
    total = commands.run("evaluate", out, *model, f"checkpoint={run_folder(out, 'gspo')}", "benchmark.n_per_task=2")
    folder = run_folder(out, "evaluate")
    report = (folder / "report.md").read_text()
    assert 0 <= total <= 4 and "model" in report
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    assert len(records) == 6 and len({record["sample_id"] for record in records}) == 6
    assert_in_mlflow(out, "evaluate", "eval/R1_tIoU_0.5")
    before = (folder / "records.jsonl").stat().st_mtime_ns
    again = commands.run("evaluate", out, *model, f"checkpoint={run_folder(out, 'gspo')}", "benchmark.n_per_task=2")
    assert again == total and (folder / "records.jsonl").stat().st_mtime_ns == before


def assert_in_mlflow(out, name, key):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{out}/mlflow.db")
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert key in next(run for run in found if run.info.run_name.startswith(name)).data.metrics


def test_answering_writes_a_picture_and_a_film(stages, capsys):
    out, model, *_ = stages
    clip = next((out / "data").rglob("temporal_qa_00000.mp4"))
    overrides = [model[0], f"checkpoint={run_folder(out, 'gspo')}", "data.max_new_tokens=12"]
    commands.run("answer", out, *overrides, f"video={clip}", "question='When is the red circle seen?'")
    stem = out / "answers" / "temporal_qa_00000-when-is-the-red-circle-seen"
    assert stem.with_suffix(".png").stat().st_size > 1000
    assert probe(stem.with_suffix(".mp4")).duration_s > 0
    assert str(stem.with_suffix(".png")) in capsys.readouterr().out.replace("\n", "")


def test_answering_about_a_still_image(stages):
    out, model, *_ = stages
    picture = next((out / "data").rglob("visual_qa_00000.jpg"))
    overrides = [model[0], f"checkpoint={out / 'base'}", "data.max_new_tokens=12", "task=visual_qa"]
    commands.run("answer", out, *overrides, f"video={picture}", "question='Where is it?'")
    assert (out / "answers" / "visual_qa_00000-where-is-it.png").is_file()


def test_a_setting_that_cannot_do_what_it_says_is_told_at_the_start(tmp_path, caplog):
    base = tiny.saved_policy("qwen2_5_vl", tmp_path / "base")
    overrides = ("logger=none", *QUIET, *SMALL, "trainer.batches=1", f"init_from={base}")
    loss = commands.run("train", tmp_path, *overrides, "objective=sft_reference")
    assert loss > 0 and "also trains on the system text" in caplog.text
    commands.run("train", tmp_path, *overrides, "objective=gspo_reference", "rollout.group_size=2")
    assert "clipping never acts" in caplog.text


# ---- the official layout, on a real clip

REAL_FRAMES = (
    "data.reader.max_pixels=3136",
    "data.reader.image_max_pixels=3136",
    "data.reader.sampling.max_frames=4",
    "data.reader.sampling.min_frames=2",
    "data.max_new_tokens=12",
)


@has_shared
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_official_rows_train_and_evaluate(tmp_path, family):
    base = tiny.saved_policy(family, tmp_path / "base")
    common = (f"model=tiny_{family}", "logger=jsonl", *QUIET, *REAL_FRAMES, f"paths.data_root={SHARED}")
    steps = ("trainer.batches=2", "trainer.prompts_per_device=2")
    loss = commands.run("train", tmp_path, *common, *steps, "data=stgr_sft", "name=sft", f"init_from={base}")
    init = f"init_from={run_folder(tmp_path, 'sft')}"
    reward = commands.run(
        "train", tmp_path, *common, *steps, "data=stgr_rl", "objective=gspo", "name=gspo", GROUP, init
    )
    assert loss > 0 and 0 <= reward <= 4
    checkpoint = f"checkpoint={run_folder(tmp_path, 'gspo')}"
    total = commands.run("evaluate", tmp_path, *common, "data=stgr_rl", "benchmark=stgr", checkpoint)
    records = (run_folder(tmp_path, "evaluate") / "records.jsonl").read_text().splitlines()
    assert 0 <= total <= 4 and len(records) == len(json.loads((SHARED / "json_data" / "STGR-RL.json").read_text()))


@has_shared
def test_sft_on_the_rl_file_says_what_is_wrong(tmp_path):
    base = tiny.saved_policy("qwen2_5_vl", tmp_path / "base")
    overrides = ("logger=jsonl", *QUIET, *REAL_FRAMES, f"paths.data_root={SHARED}", "data=stgr_rl", "trainer.batches=1")
    with pytest.raises(DataError, match=r"reasoning_process.*Use the SFT file"):
        commands.run("train", tmp_path, *overrides, f"init_from={base}")


def test_frames_of_a_benchmark_are_nothing_to_train_on(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.dataset is missing"):
        commands.run("train", tmp_path, "data=vstar", "logger=none")
