"""Video-MME: published files read, released table reproduced, corrected numbers by exact fields."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.benchmarks import videomme as module
from o3v.benchmarks.videomme import KNOWN, accuracy_table, prompt_text, released_table
from o3v.errors import ConfigError, DataError
from tests.benchmarks.mcq.golden_lines import FOLDERS, close, prompt_lines, read_lines
from tests.benchmarks.mcq.published import VIDEOMME_ROWS, records_of, videomme

RESULTS = st.fixed_dictionaries(
    {
        "duration": st.sampled_from(KNOWN["duration"]),
        "category": st.sampled_from(KNOWN["domain"]),
        "sub_category": st.sampled_from(KNOWN["sub_category"]),
        "task_category": st.sampled_from(KNOWN["task_type"]),
        "pred_answer": st.sampled_from(["A", "B", "No Answer Found"]),
        "answer": st.sampled_from("AB"),
    }
)


def reference_misses(lines) -> list[str]:
    missed = []
    for line in lines:
        try:
            table = released_table(line["results"])
        except DataError:
            right = line["raises"] is not None
        else:
            rounded = {label: round(value, 1) for label, value in table.items()}
            right = rounded == line["expected_log_table_percent_1dp"] and close(
                table["Overall Performance"], line["expected_overall_percent"]
            )
        missed += [] if right else [line["id"]]
    return missed


def corrected_misses(lines) -> list[str]:
    missed = []
    for line in lines:
        table = accuracy_table(line["results"])
        expected = line["expected_corrected"]
        right = close(table, expected) if expected else close(table["overall"], line["expected_overall_percent"])
        missed += [] if right else [line["id"]]
    return missed


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("misses", [reference_misses, corrected_misses])
def test_golden_tables(folder, misses) -> None:
    assert misses(read_lines(folder, "videomme_aggregate")) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_golden_prompts(folder) -> None:
    for line in prompt_lines(folder, "videomme"):
        doc = line["doc"]
        assert prompt_text(doc["question"], doc["options"], line["think_mode"]) == line["expected"]


@given(st.lists(RESULTS, max_size=8), st.randoms())
def test_order_changes_nothing(results, shuffler) -> None:
    tables = accuracy_table(results), released_table(results)
    shuffled = list(results)
    shuffler.shuffle(shuffled)
    assert close(accuracy_table(shuffled), tables[0])
    assert close(released_table(shuffled), tables[1])


def test_the_published_file_is_read(tmp_path: Path) -> None:
    benchmark = videomme(tmp_path)
    benchmark.check()
    first, second, _ = benchmark.questions()
    assert (first.id, first.item, first.task) == ("001-1", "vid_a", "mcq")
    assert first.video_path == tmp_path / "data" / "vid_a.mp4"
    assert second.video_path == tmp_path / "data" / "vid_b.mkv"
    assert first.text.endswith("?\nA. Court.\nB. Exit.\nC. Nothing at all.\nD. Open.")
    assert "<answer>" in first.system and first.truth["answer"] == "B"


def test_the_released_prompt_has_no_system_text(tmp_path: Path) -> None:
    question = videomme(tmp_path, prompt="reference", think=False).questions()[0]
    assert question.system == "" and question.text.startswith("Select the best answer")


def test_numbers_by_field(tmp_path: Path) -> None:
    benchmark = videomme(tmp_path)
    records = records_of(
        benchmark, {"001-1": "<answer>B</answer>", "002-1": "I cannot say", "002-2": "<answer>C</answer>"}
    )
    summary = benchmark.summary(records)
    assert summary["acc"].value == pytest.approx(2 / 3) and summary["acc"].clusters == 2
    assert summary["parsed"].value == pytest.approx(2 / 3) and summary["chance"].value == 0.25
    assert summary["acc@duration=long"].value == 0.5 and summary["acc@domain=Multilingual"].value == 0
    assert summary["acc@sub_category=Multilingual"].value == 0.5
    assert {"acc@duration=short", "chance", "coverage"} <= set(benchmark.shown) & set(summary)


def test_the_reference_counts_by_occurrence_and_makes_up_letters(tmp_path: Path) -> None:
    benchmark = videomme(tmp_path, definition="reference")
    texts = {row["question_id"]: "<think>x</think><answer>C</answer>" for row in VIDEOMME_ROWS[1:]}
    summary = benchmark.summary(records_of(benchmark, texts))
    assert summary["acc@domain=Multilingual"].value == 0.5  # the sub-category of that name as well
    assert summary["parsed"].value == pytest.approx(2 / 3)
    rows = [{**row, "answer": "A"} for row in VIDEOMME_ROWS]
    silent = videomme(tmp_path / "a", rows=rows, definition="reference")
    assert silent.summary(records_of(silent, {}))["acc"].value == 1


def test_a_vote_reads_what_the_score_reads(tmp_path: Path) -> None:
    benchmark, released = videomme(tmp_path), videomme(tmp_path, definition="reference")
    question = benchmark.questions()[0]
    for text, corrected, reference in (
        ("<answer>(B)</answer>", "B", None),
        ("<answer>B</answer>", "B", "B"),
        ("E", None, None),
    ):
        assert benchmark.read_answer(question, text) == corrected
        assert released.read_answer(question, text) == reference


def test_baselines_go_through_the_parser(tmp_path: Path) -> None:
    for benchmark in (videomme(tmp_path), videomme(tmp_path, prompt="reference", think=False, definition="reference")):
        found = {name: records_of(benchmark, dict(texts)) for name, texts in benchmark.baselines().items()}
        accuracy = {name: benchmark.summary(records)["acc"].value for name, records in found.items()}
        assert accuracy["majority_letter"] == pytest.approx(2 / 3)
        assert accuracy["longest_option"] == 0  # C, A and D are
        assert accuracy["no_answer"] == 0
        assert all(record.scores["parsed"] for record in found["random_letter"])


def test_subtitles_stand_before_the_question(tmp_path: Path) -> None:
    benchmark = videomme(tmp_path, subtitles="subtitle")
    with pytest.raises(ConfigError, match=r"no VIDEOID\.srt"):
        benchmark.check()
    (tmp_path / "subtitle").mkdir()
    (tmp_path / "subtitle" / "vid_a.srt").write_text("1\n00:00:05,0 --> 00:00:06,0\nOrder!\n")
    benchmark.check()
    texts = {question.id: question.text for question in benchmark.questions()}
    assert texts["001-1"].startswith("Subtitles of the video:\n5s: Order!\n\nWhat is written")
    assert texts["002-1"].startswith("How many")
    assert benchmark.name == "videomme_subtitles"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    benchmark = videomme(tmp_path)
    (tmp_path / "data" / "vid_b.mkv").unlink()
    with pytest.raises(ConfigError, match=r"1 of 2 videos are missing: .*vid_b\.mp4"):
        videomme_again(tmp_path).check()
    assert len(benchmark.questions()) == 3  # saved answers need no videos
    with pytest.raises(ConfigError, match="no such file"):
        videomme_again(tmp_path / "nowhere").check()


def videomme_again(root: Path):
    """The benchmark over the files as they are."""
    settings = {"annotations": "videomme/test-00000-of-00001.parquet", "videos": "data", "subtitles": None}
    rest = {"definition": "corrected", "prompt": "own", "think": True, "seed": 0, "resamples": 50}
    return module.VideoMME(root=str(root), subtitle_chars=9, **settings, **rest)


def test_the_reference_names_unknown_categories_before_a_model_is_loaded(tmp_path: Path) -> None:
    rows = [{**VIDEOMME_ROWS[0], "task_type": "Smelling"}]
    videomme(tmp_path, rows=rows).check()
    with pytest.raises(DataError, match="task_type='Smelling'"):
        videomme(tmp_path, rows=rows, definition="reference").check()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"definition": "paper"}, "definition='paper'"),
        ({"prompt": "mine"}, "prompt='mine'"),
        ({"think": False}, "think=false"),
        ({"resamples": 0}, "resamples=0"),
        ({"subtitle_chars": 0}, "subtitle_chars=0"),
        ({"subtitles": "subtitle", "prompt": "reference"}, "subtitles"),
    ],
)
def test_settings_are_checked(tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        videomme(tmp_path, **changes)


def test_a_record_of_another_benchmark_is_refused(tmp_path: Path) -> None:
    benchmark = videomme(tmp_path)
    (record,) = records_of(videomme(tmp_path / "b", rows=[{**VIDEOMME_ROWS[0], "question_id": "9-9"}]), {})
    with pytest.raises(DataError, match="no question '9-9'"):
        benchmark.columns([record])


def found_in_all(rights, groups):
    """Denominator: all rows instead of the group's."""
    keys = {key for of_row in groups for key in of_row}
    return {
        key: sum(r for r, of_row in zip(rights, groups, strict=True) if key in of_row) / len(rights) for key in keys
    }


MUTANTS = {
    "denominator of all rows": ("accuracy_by", found_in_all, corrected_misses),
    "denominator of all rows, released": ("accuracy_by", found_in_all, reference_misses),
    "fields swapped": ("RESULT_FIELDS", {**module.RESULT_FIELDS, "domain": "sub_category"}, reference_misses),
    "unknown categories pass": ("_check_known", lambda fields, place: None, reference_misses),
    "only A counts": (
        "_rights",
        lambda rows: [float(r["pred_answer"] == "A" == r["answer"]) for r in rows],
        corrected_misses,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_version_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, wrong, misses = MUTANTS[name]
    monkeypatch.setattr(module, attribute, wrong)
    assert misses(read_lines(FOLDERS[0].values[0], "videomme_aggregate")) != []
