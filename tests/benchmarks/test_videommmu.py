"""VideoMMMU: the three published files read, released report reproduced, every question in the denominator."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.benchmarks import videommmu as module
from o3v.benchmarks.videommmu import SUBJECTS, TRACKS, corrected_table, prompt_text, released_table, right_answers
from o3v.errors import ConfigError, DataError
from tests.benchmarks.mcq.golden_lines import FOLDERS, close, prompt_lines, read_lines
from tests.benchmarks.mcq.published import COMMON, VIDEOMMMU_TRACKS, records_of, videommmu, write_json

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "videommmu"


def reference_misses(lines) -> list[str]:
    missed = []
    for line in lines:
        try:
            found = module.released_table(line["docs"], line["predictions"])
        except DataError:
            right = line["raises"] is not None
        else:
            parsed = [list(part) if isinstance(part, tuple) else part for part in found.parsed]
            right = (
                line["raises"] is None
                and parsed == [row["parsed_pred"] for row in line["expected_metrics"] or ()]
                and close(found.overall, line["expected_overall"])
                and close(dict(found.table), line["expected_table"])
                and close(dict(found.tracks), line["expected_category_acc"])
            )
        missed += [] if right else [line["id"]]
    return missed


def corrected_misses(lines) -> list[str]:
    """Where the reference could not compute a table at all, ours has every question in it."""
    missed = []
    for line in lines:
        found = module.corrected_table(line["docs"], line["predictions"])
        expected = {"num": len(line["docs"]), **(line["expected_corrected"] or {})}
        if line["expected_corrected"] is None and line["raises"] is None:
            expected["overall"] = line["expected_overall"]
        missed += [] if all(close(found[key], expected[key]) for key in expected) else [line["id"]]
    return missed


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("misses", [reference_misses, corrected_misses])
def test_golden_tables(folder, misses) -> None:
    assert misses(read_lines(folder, "videommmu_aggregate")) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_golden_prompts(folder) -> None:
    for line in prompt_lines(folder, "videommmu"):
        doc = line["doc"]
        assert prompt_text(doc["question"], doc["options"], doc["category"], line["think_mode"]) == line["expected"]


ANSWERED = st.lists(
    st.tuples(
        st.fixed_dictionaries(
            {
                "id": st.sampled_from(["dev_Biology_3", "test_Art_Theory_1", "x_Alchemy_2"]),
                "category": st.sampled_from(TRACKS),
                "options": st.just(["red", "blue", "green"]),
                "answer": st.sampled_from(["A", "B", "5", "red"]),
                "question_type": st.sampled_from(["multiple-choice", "open", "perception"]),
            }
        ),
        st.sampled_from(["", "API Error", "(B)", "The answer is 5", "red"]) | st.text(max_size=9),
    ),
    max_size=8,
)


@given(ANSWERED, st.randoms())
def test_order_changes_nothing(answered, shuffler) -> None:
    tables = []
    for _ in range(2):
        docs, texts = [doc for doc, _ in answered], [text for _, text in answered]
        found = released_table(docs, texts)
        tables.append((corrected_table(docs, texts), found.overall, found.table, found.tracks))
        answered = list(answered)
        shuffler.shuffle(answered)
    assert tables[0] == tables[1]


@given(ANSWERED)
def test_an_empty_answer_never_helps(answered) -> None:
    docs = [doc for doc, _ in answered]
    assert right_answers(docs, [""] * len(docs)) == [0] * len(docs)


def test_the_published_files_are_read(tmp_path: Path) -> None:
    benchmark = videommmu(tmp_path)
    benchmark.check()
    questions = {question.id: question for question in benchmark.questions()}
    assert sorted(questions) == [
        "dev_Biology_3/adaptation",
        "dev_Biology_3/comprehension",
        "dev_Biology_3/perception",
        "test_Alchemy_1/perception",
        "validation_Math_15/adaptation",
    ]
    shown = questions["dev_Biology_3/adaptation"]
    assert shown.video_path == tmp_path / "Science" / "dev_Biology_3.mp4"
    assert shown.image_paths == (tmp_path / "images" / "dev_Biology_3.png",)
    assert shown.text.startswith("Picture 1 What sugar?\nA. thing 0\n")
    opened = questions["validation_Math_15/adaptation"]
    assert opened.image_paths == (tmp_path / "images" / "validation_Math_15_1.jpg",)
    assert (opened.task, opened.text) == ("open", "How fast? Picture 1")
    assert questions["test_Alchemy_1/perception"].truth["options"][-1] == "N"


def test_pictures_may_be_the_end_of_the_video(tmp_path: Path) -> None:
    benchmark = videommmu(tmp_path, pictures="last_frame")
    question = benchmark.questions()[0]
    assert question.image_paths == () and question.text.startswith("the picture at the end of the video What")
    released = videommmu(tmp_path, prompt="reference").questions()[0]
    assert released.text.startswith("<image 1> What sugar?") and released.system == ""


def test_numbers_by_field(tmp_path: Path) -> None:
    benchmark = videommmu(tmp_path)
    texts = {
        "dev_Biology_3/perception": "<answer>G</answer>",
        "test_Alchemy_1/perception": "<answer>N. thing 3</answer>",
        "validation_Math_15/adaptation": "<think>24/7</think><answer>about 3.43</answer>",
    }
    summary = benchmark.summary(records_of(benchmark, texts))
    assert summary["acc"].value == pytest.approx(3 / 5)
    assert [summary[f"acc@track={track}"].value for track in TRACKS] == [1, 0, 0.5]
    assert summary["acc@domain=Other"].value == summary["acc@kind=open"].value == 1
    assert summary["chance"].value == pytest.approx((0.1 + 1 / 14 + 0.25 + 0.1 + 0) / 5)
    assert {"acc@track=Perception", "chance"} <= set(benchmark.shown) & set(summary)


def test_empty_open_answers_leave_the_denominator_in_the_reference_alone(tmp_path: Path) -> None:
    for definition, n in (("corrected", 5), ("reference", 4)):
        benchmark = videommmu(tmp_path, definition=definition, tracks=list(TRACKS))
        assert benchmark.summary(records_of(benchmark, {}))["acc"].n == n


def test_votes_on_open_answers(tmp_path: Path) -> None:
    benchmark = videommmu(tmp_path)
    question = benchmark.questions()[-1]
    read = [benchmark.read_answer(question, f"<answer>{text}</answer>") for text in ("3.43", "x = 3.430", " ", "4")]
    assert read[0] == read[1] and read[2] is None and read[3] != read[0]


def test_what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    benchmark = videommmu(tmp_path)
    (tmp_path / "images" / "dev_Biology_3.png").unlink()
    fresh = module.VideoMMMU(root=str(tmp_path), tracks=TRACKS, pictures="files", **COMMON)
    with pytest.raises(ConfigError, match=r"1 of 2 pictures are missing: .*dev_Biology_3\.png; .*last_frame"):
        fresh.check()
    (tmp_path / "Science" / "dev_Biology_3.mp4").unlink()
    with pytest.raises(ConfigError, match=r"1 of 3 videos are missing: .*Science.dev_Biology_3\.mp4"):
        benchmark.check()
    write_json(tmp_path / "perception_video.json", {"Comprehension": {}})
    with pytest.raises(DataError, match=r"perception_video\.json: not an object \{'Perception'"):
        module.VideoMMMU(root=str(tmp_path), tracks=["Perception"], pictures="files", **COMMON).questions()


@pytest.mark.parametrize("changes", [{"tracks": []}, {"tracks": ["Taste"]}, {"pictures": "none"}])
def test_settings_are_checked(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(ConfigError, match=f"benchmark.{next(iter(changes))}"):
        videommmu(tmp_path, **changes)


def test_an_id_without_a_subject(tmp_path: Path) -> None:
    rows = {"Perception": {"0": {**VIDEOMMMU_TRACKS["Perception"]["0"], "id": "odd"}}}
    settings = {"tracks": ["Perception"], "definition": "reference"}
    videommmu(tmp_path, content=rows)
    (tmp_path / "Other" / "odd.mp4").write_bytes(b"")
    benchmark = module.VideoMMMU(root=str(tmp_path), pictures="files", **{**COMMON, **settings})
    assert benchmark.rows[0].fields["subject"] == ("Other",)
    with pytest.raises(DataError, match="'odd' is not SPLIT_SUBJECT_NUMBER"):
        benchmark.check()


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the complete VideoMMMU annotations are not in {DATA}")
def test_the_complete_files_load() -> None:
    benchmark = module.VideoMMMU(root=str(DATA), tracks=list(TRACKS), pictures="files", **COMMON)
    rows = benchmark.rows
    assert [sum(row.fields["track"] == (track,) for row in rows) for track in TRACKS] == [300] * 3
    assert {row.fields["domain"][0] for row in rows} == set(SUBJECTS)
    assert sum(row.kind == "open" for row in rows) == 20
    assert max(len(row.options) for row in rows) == 14
    assert sum(bool(row.pictures) for row in rows) == 293
    found = {name: records_of(benchmark, dict(texts)) for name, texts in benchmark.baselines().items()}
    accuracy = {name: benchmark.summary(records)["acc"].value for name, records in found.items()}
    assert accuracy["no_answer"] == 0 and 0.1 < accuracy["majority_letter"] < 0.2
    right = {row.id: row.answer for row in rows}
    assert benchmark.summary(records_of(benchmark, right))["acc"].value == 1


MUTANTS = {
    "empty answers count as released": ("API_ERROR", "another text", reference_misses),
    "perception may be right": ("_CHOICE", "perception", reference_misses),
    "subjects by the first word": ("released_subject", lambda item: (item + "_").split("_")[1], reference_misses),
    "three decimals": ("_mean", lambda rights: round(sum(rights) / len(rights), 3) if rights else 0, reference_misses),
    "only answered questions count": (
        "right_answers",
        lambda docs, texts: [int(module._is_right(d, t)) for d, t in zip(docs, texts, strict=True) if t],
        corrected_misses,
    ),
    "open answers as letters": ("is_right", lambda text, answer: text == answer, corrected_misses),
    "perception as open": (
        "_is_right",
        lambda doc, text: doc["question_type"] == "multiple-choice" and text.strip("().") == doc["answer"],
        corrected_misses,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_version_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, wrong, misses = MUTANTS[name]
    monkeypatch.setattr(module, attribute, wrong)
    assert misses(read_lines(FOLDERS[0].values[0], "videommmu_aggregate")) != []
