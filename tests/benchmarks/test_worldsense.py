"""WorldSense: published files read, released scores and ratings reproduced, nothing made up in the corrected ones."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o3v.benchmarks import worldsense as module
from o3v.benchmarks.worldsense import KNOWN, audio_classes, prompt_text, rating, released_scores, scores
from o3v.errors import ConfigError, DataError
from tests.benchmarks.mcq.golden_lines import FOLDERS, close, prompt_lines, read_lines
from tests.benchmarks.mcq.published import WORLDSENSE_VIDEOS, records_of, worldsense, write_json


def reference_misses(lines) -> list[str]:
    missed = []
    for line in lines:
        try:
            given_scores = released_scores(line["docs"])
            found = given_scores, rating(line["docs"], given_scores)
        except DataError:
            found = (None, None)
        missed += [] if found == (line["expected_scores"], line["expected_rating"]) else [line["id"]]
    return missed


def corrected_misses(lines) -> list[str]:
    missed = []
    for line in lines:
        found, expected = scores(line["docs"]), line["expected_corrected"]
        if expected is None:
            right = found == line["expected_scores"]
        else:
            right = found == expected["per_question"] and close(sum(found) / len(found), expected["overall"])
        missed += [] if right else [line["id"]]
    return missed


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("misses", [reference_misses, corrected_misses])
def test_golden_tables(folder, misses) -> None:
    assert misses(read_lines(folder, "worldsense_aggregate")) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_golden_prompts(folder) -> None:
    for line in prompt_lines(folder, "worldsense"):
        doc = line["doc"]
        assert prompt_text(doc["question"], doc["candidates"], line["think_mode"]) == line["expected"]


DOCS = st.lists(
    st.fixed_dictionaries(
        {
            **{field: st.sampled_from(values) for field, values in KNOWN.items() if field != "audio_class"},
            "audio_class": st.sampled_from(["['Speech']", "['Music', 'Event']"]),
            "prediction": st.sampled_from(["A", "B. text", "no idea", "", None]) | st.text(max_size=9),
            "answer": st.sampled_from("ABCD"),
        }
    ),
    max_size=8,
).map(lambda docs: [{**doc, "index": index} for index, doc in enumerate(docs)])


@given(DOCS, st.randoms())
def test_order_changes_nothing(docs, shuffler) -> None:
    shuffled = list(docs)
    shuffler.shuffle(shuffled)
    for how in (scores, released_scores):
        assert rating(shuffled, how(shuffled)) == rating(docs, how(docs))


def test_the_published_file_is_read(tmp_path: Path) -> None:
    benchmark = worldsense(tmp_path)
    benchmark.check()
    questions = benchmark.questions()
    assert [question.id for question in questions] == ["aaa/task0", "aaa/task1", "bbb/task0"]
    assert questions[0].video_path == tmp_path / "videos" / "aaa.mp4"
    assert questions[0].text == "Which instrument starts?\nA. Drum\nB. Harp\nC. Flute\nD. Horn"
    assert questions[0].truth["fields"]["audio_class"] == ("Music", "Speech")


def test_flat_rows_are_read_alike(tmp_path: Path) -> None:
    rows = [
        {
            **{k: v for k, v in video.items() if "task" not in k},
            **task,
            "video": name,
            "index": 7,
            "audio_class": "['Event']",
        }
        for name, video in WORLDSENSE_VIDEOS.items()
        for task in [video["task0"]]
    ]
    benchmark = worldsense(tmp_path, content=rows)
    assert [question.id for question in benchmark.questions()] == ["aaa/7", "bbb/7"]
    assert benchmark.questions()[0].truth["fields"]["audio_class"] == ("Event",)


def test_numbers_by_field(tmp_path: Path) -> None:
    benchmark = worldsense(tmp_path)
    summary = benchmark.summary(records_of(benchmark, {"aaa/task0": "<answer>C</answer>", "bbb/task0": "D"}))
    assert summary["acc"].value == pytest.approx(2 / 3)
    assert summary["acc@audio_class=Speech"].value == summary["acc@audio_class=Music"].value == 0.5
    assert summary["acc@audio_class=Event"].value == summary["acc@task_domain=Recognition"].value == 1
    assert summary["acc@task_domain=Reasoning"].value == 0
    assert summary["acc@duration=<1min"].value == summary["acc@domain=Music"].value == 0.5
    assert {"acc@audio_class=Speech", "acc@task_domain=Reasoning", "parsed"} <= set(benchmark.shown) & set(summary)


def test_no_answer_is_free_credit_in_the_reference_alone(tmp_path: Path) -> None:
    accuracy = {}
    for definition in ("corrected", "reference"):
        benchmark = worldsense(tmp_path, definition=definition)
        texts = dict(benchmark.baselines()["no_answer"])
        accuracy[definition] = benchmark.summary(records_of(benchmark, texts))["acc"].value
    assert accuracy == {"corrected": 0, "reference": pytest.approx(1 / 3)}


def test_what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    benchmark = worldsense(tmp_path)
    (tmp_path / "videos" / "bbb.mp4").unlink()
    with pytest.raises(ConfigError, match=r"1 of 2 videos are missing: .*bbb\.mp4; set benchmark.videos"):
        benchmark.check()
    for content in ([3], {"a": 3}, 3):
        write_json(tmp_path / "worldsense_qa.json", content)
        with pytest.raises(DataError, match=r"worldsense_qa\.json"):
            fresh(tmp_path).check()


def fresh(root: Path):
    rest = {"definition": "corrected", "prompt": "own", "think": True, "seed": 0, "resamples": 50}
    return module.WorldSense(root=str(root), annotations="worldsense_qa.json", videos="videos", **rest)


def test_the_reference_names_unknown_categories_before_a_model_is_loaded(tmp_path: Path) -> None:
    content = {"aaa": {**WORLDSENSE_VIDEOS["aaa"], "domain": "Smells"}}
    worldsense(tmp_path, content=content).check()
    with pytest.raises(DataError, match="domain='Smells'"):
        worldsense(tmp_path, content=content, definition="reference").check()


@pytest.mark.parametrize("value", ["Speech", "[1]", None, 3, "['a'"])
def test_kinds_of_sound_must_be_a_list(value: object) -> None:
    with pytest.raises(DataError, match="row 1: audio_class"):
        audio_classes(value, "row 1")


MUTANTS = {
    "empty answers are wrong": ("API_ERROR", "another text", reference_misses),
    "duplicates count": ("released_scores", lambda docs: [int(s) for s in scores(docs)], reference_misses),
    "unknown categories pass": ("_check_docs", lambda docs: None, reference_misses),
    "sounds are not split": ("_values", lambda doc, field: (doc[field],), reference_misses),
    "unreadable answers are A": ("read_letter", lambda *given: "A", corrected_misses),
    "two decimals": ("_part", lambda kept: {"overall": "0.50"}, reference_misses),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_version_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, wrong, misses = MUTANTS[name]
    monkeypatch.setattr(module, attribute, wrong)
    if hasattr(misses, "__globals__") and attribute in misses.__globals__:
        monkeypatch.setitem(misses.__globals__, attribute, wrong)
    assert misses(read_lines(FOLDERS[0].values[0], "worldsense_aggregate")) != []
