"""The whole of a vote: crops are cut, the scorer is asked, paths are kept in a file, the curve is drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from o3v.benchmarks.question import Question
from o3v.benchmarks.voting import crops, scaling
from o3v.benchmarks.voting.answering import VotingRespondent, plain_key
from o3v.benchmarks.voting.files import VoteRecord, read_votes, to_line
from o3v.benchmarks.voting.paths import Path as VotedPath
from o3v.benchmarks.voting.paths import Sight
from o3v.benchmarks.voting.table import report_scaling
from o3v.benchmarks.voting.vote import Rule
from o3v.benchmarks.voting.voter import Voter
from o3v.config import build
from o3v.errors import ConfigError, DataError
from o3v.types import BoxScale, Clip, Prompt

CONF = str(Path(__file__).resolve().parents[3] / "conf")
SYSTEM = "Answer in <think></think> <answer></answer>."


def clip() -> Clip:
    frames = np.zeros((4, 20, 40, 3), dtype=np.uint8)
    for index in range(4):
        frames[index] = index
        frames[index, 5:10, 10:20] = 100 + index
    return Clip(frames, (0.0, 1.0, 2.0, 3.0), 4.0, (40, 20))


def question(key: str) -> Question:
    return Question(key, "s", "mcq", key, Path(f"{key}.mp4"), None, None, SYSTEM, f"{key}?", (), {"answer": "A"})


def prompt() -> Prompt:
    return Prompt(SYSTEM, (0, 1, 2, 3, "q?"), clip(), BoxScale(1000, 1000), None)


def text(letter: str, *sights: str) -> str:
    return f"<think>I see {' '.join(sights)}</think><answer>{letter}</answer>"


def claim(box: str, time: float) -> str:
    return f"<obj>it</obj><box>{box}</box>at<t>{time}</t>s"


def settings(name: str, *overrides: str) -> Voter:
    with initialize_config_dir(CONF, version_base="1.3"):
        voter: Voter = build(compose(overrides=[f"+voting={name}", *overrides]), "voting")
        return voter


def respondent(voter: Voter, texts: Sequence[str], file: Path, asked: list[Prompt]) -> VotingRespondent:
    def respond(prompts: Sequence[Prompt]) -> list[str]:
        asked.extend(prompts)
        return ["2" if prompt.clip.frames.min() >= 100 else "0" for prompt in prompts]

    def draw(prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[tuple[str, int]]:
        assert len(set(seeds)) == len(seeds) == len(prompts) * voter.paths
        return [(text, 7) for _ in prompts for text in texts]

    def score(question: Question, text: str, scale: BoxScale) -> dict[str, float]:
        return {"acc": float(plain_key(question, text) == question.truth["answer"])}

    return VotingRespondent(voter, draw, respond, plain_key, score, lambda q: "ABCD", 0, file)


def test_confidence_believes_the_path_whose_crop_shows_the_thing(tmp_path: Path) -> None:
    good, bad = claim("[250,250,500,500]", 2.0), claim("[0,0,200,200]", 2.0)
    texts = [text("B", bad), text("A", good), text("B"), "<think>A"]
    asked: list[Prompt] = []
    voter = settings("confidence", "voting.paths=4")
    answer = respondent(voter, texts, tmp_path / "paths.jsonl", asked)
    assert answer([(question("x"), prompt())]) == [texts[1]]
    assert [len(p.clip.frames) for p in asked] == [1, 1]
    assert asked[0].clip.frames.shape == (1, 20, 40, 3)
    assert asked[0].parts[0].endswith("Question: x?")
    (record,) = read_votes([tmp_path / "paths.jsonl"])
    assert [path.relevance for path in record.paths] == [0.2, 1.0, 0.2, 0.2]
    assert [path.crops for path in record.paths] == [1, 1, 0, 0]
    assert (record.scores, record.texts, record.video) == ({"acc": (0.0, 1.0, 0.0, 0.0)}, tuple(texts), "x.mp4")
    assert record.paths[1].claims[0].boxes == ((0.25, 0.25, 0.5, 0.5),)


def test_majority_asks_no_scorer_and_abstains_on_a_tie(tmp_path: Path) -> None:
    asked: list[Prompt] = []
    texts = [text("A", claim("[0,0,9,9]", 1)), text("B")]
    for overrides, expected in (([], ""), (["voting.rule.ties=first_path"], texts[0])):
        voter = settings("majority", "voting.paths=2", *overrides)
        assert respondent(voter, texts, tmp_path / "paths.jsonl", asked)([(question("x"), prompt())]) == [expected]
    assert asked == []


def test_reference_predicts_the_first_letter_of_nothing(tmp_path: Path) -> None:
    voter = settings("majority", "voting.paths=2", "voting.definition=reference")
    found = respondent(voter, ["?", "?"], tmp_path / "paths.jsonl", [])([(question("x"), prompt())])
    assert found == ["<think></think>\n<answer>A</answer>"]


def test_seeds_are_distinct_and_do_not_depend_on_the_number_of_paths() -> None:
    few, many = settings("majority", "voting.paths=2"), settings("majority", "voting.paths=64")
    assert many.seeds(0, "q")[:2] == few.seeds(0, "q")
    assert len({*many.seeds(0, "q"), *many.seeds(0, "r"), *many.seeds(1, "q")}) == 3 * 64


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"rollout\.temperature=0"):
        settings("majority").check(0.0)
    settings("none").check(0.0)
    settings("evidence").check(1.0)
    for override in ("voting.paths=0", "voting.max_crops=0", "voting.definition=paper"):
        with pytest.raises(ConfigError, match=override.partition("=")[0]):
            settings("majority", override)
    with pytest.raises(ConfigError, match="confidence asks the model"):
        settings("confidence").answer(None, None)  # type: ignore[arg-type]


def test_cut_out_takes_the_pixels_of_the_claim() -> None:
    film = crops.footage_of(clip(), BoxScale(1000, 1000), "corrected")
    cuts = crops.place([Sight("it", (250.0, 250.0, 500.0, 500.0), 2.4), Sight("it", (0.0, 0.0, 9.0, 9.0), 9.0)], film)
    assert cuts == [crops.Cut(2, 10, 5, 20, 10), crops.Cut(None, 0, 0, 0, 0)]
    assert np.unique(crops.cut_out(clip(), cuts[:1])).tolist() == [102]
    assert crops.cut_out(clip(), []).shape == (0, 20, 40, 3)


def test_one_frame_shows_every_time() -> None:
    still = Clip(clip().frames[:1], (), 0.0, (40, 20))
    assert crops.nearest_frame(still)(7.0) == 0
    assert [crops.nearest_frame(clip())(t) for t in (-0.6, -0.4, 1.5, 3.4, 3.6)] == [None, 0, 1, 3, None]


def test_numbers_that_overflow_have_no_frame() -> None:
    film = crops.Footage(crops.at_rate(24.0, 4, False), (40, 20), BoxScale(10, 10))
    (cut,) = crops.place([Sight("it", (0.0, 0.0, 1e308, 1e308), 1.7e308)], film)
    assert (cut.frame, cut.right, cut.bottom) == (None, 40, 20)


def voted(key: str, answers: str, right: str) -> VoteRecord:
    paths = tuple(VotedPath(a if a != "-" else None, True, 0.2, 1, "0", (), 10, None) for a in answers)
    return VoteRecord(key, f"{key}.mp4", paths, tuple(answers), {"acc": tuple(float(a == right) for a in answers)})


def test_curve_is_the_expectation_over_subsets() -> None:
    records = [voted("a", "AAB", "A"), voted("b", "A-B", "B")]
    rules = {"majority": Rule("majority", "abstain", 1.0, 0.2), "none": Rule("none", "abstain", 1.0, 0.2)}
    points = scaling.votes_by_n(records, "acc", rules, [1, 2, 3], 70, 200, 0)
    by = {(p.rule, p.n): p for p in points}
    assert by["majority", 1].score.value == pytest.approx((2 / 3 + 1 / 3) / 2)
    # a: AA right, AB and AB tied; b: A- wrong, AB tied, -B right
    assert by["majority", 2].score.value == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert by["majority", 2].abstained == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert by["majority", 3].score.value == pytest.approx(0.5)
    assert by["none", 1].score.value == by["majority", 1].score.value
    assert [by["majority", n].tokens for n in (1, 2, 3)] == [10, 20, 30]
    assert by["none", 3].tokens == 10
    first = scaling.votes_by_n(records, "acc", rules, [1], 1, 200, 0)[0]
    assert first.score.value == 0.5
    half = scaling.votes_by_n(records, "acc", rules, [3], 70, 200, 0, unanswered=["c.mp4", "d.mp4"])[0]
    assert (half.score.value, half.score.n, half.abstained) == (by["majority", 3].score.value / 2, 4, 0.75)


def test_curve_refuses_what_it_cannot_draw() -> None:
    rules = {"majority": Rule("majority", "abstain", 1.0, 0.2)}
    with pytest.raises(DataError, match="no question has the score 'acc'"):
        scaling.votes_by_n([], "acc", rules, [1], 70, 200, 0)
    with pytest.raises(DataError, match=r"\[2, 3\]"):
        scaling.votes_by_n([voted("a", "AA", "A"), voted("b", "AAA", "A")], "acc", rules, [1], 70, 200, 0)
    with pytest.raises(ConfigError, match="1 to 2"):
        scaling.votes_by_n([voted("a", "AA", "A")], "acc", rules, [3], 70, 200, 0)


def test_some_subsets_stand_for_all() -> None:
    few = scaling.subsets(16, 8, 20, 0)
    assert len(few) == 20 and len(set(few)) > 15 and all(sorted(set(s)) == list(s) for s in few)
    assert few == scaling.subsets(16, 8, 20, 0) != scaling.subsets(16, 8, 20, 1)


def test_report_reads_what_a_killed_run_left(tmp_path: Path) -> None:
    lines = [to_line(voted("a", "ABAA", "A")), to_line(voted("b", "BBAA", "B")), to_line(voted("a", "AAAA", "A"))]
    (tmp_path / "paths-0.jsonl").write_text("".join(lines) + lines[0][:40])
    points = report_scaling(tmp_path, "t", "acc", Rule("confidence", "abstain", 1.0, 0.2), 200, 0)
    assert [(p.rule, p.n) for p in points][:3] == [("majority", 1), ("majority", 2), ("majority", 4)]
    assert {p.rule for p in points} == {"majority", "confidence", "evidence"}
    assert points[0].score.value == pytest.approx((1 + 0.5) / 2)
    rows: list[dict[str, Any]] = json.loads((tmp_path / "voting.json").read_text())
    assert rows[0]["score"]["n"] == 2
    assert "| majority | 4 |" in (tmp_path / "voting.md").read_text()
    assert (tmp_path / "voting.png").read_bytes()[:4] == b"\x89PNG"
    assert report_scaling(tmp_path / "empty", "t", "acc", Rule("majority", "abstain", 1.0, 0.2), 200, 0) == []


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "paths.jsonl").write_text('{"sample_id": "a"}\n')
    with pytest.raises(DataError, match=r"paths\.jsonl:1: not the paths of a question"):
        read_votes([tmp_path / "paths.jsonl"])
