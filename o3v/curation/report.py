"""A page with pictures of kept and dropped rows and the counts by reason; everything is in the one file."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from o3v.curation.folder import CurationFolder
from o3v.curation.items import CHANGED, DROPPED, Candidate, Decision
from o3v.curation.sources import inside
from o3v.errors import MediaError
from o3v.evidence.draw import evidence_picture
from o3v.grounding.parse import parse_completion
from o3v.grounding.render import render_target
from o3v.tracking.run import write_atomically
from o3v.types import BoxScale, Sample, Task
from o3v.video.reader import ClipReader

NAME = "index.html"
FACTOR = 28
_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#1c1e22}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%;border:1px solid #ddd}"
    "figure{margin:1.5em 0}figcaption{margin-bottom:.4em}code{background:#f2f3f5;padding:0 .25em;word-break:break-word}"
)


@dataclass(frozen=True)
class ReportSettings:
    """What the page shows.

    Attributes:
        kept: pictures of kept rows.
        dropped: pictures of dropped rows for each stage and reason.
        seed: of the choice, which depends on it and on the ids alone.
    """

    kept: int
    dropped: int
    seed: int


@dataclass(frozen=True)
class Report:
    """Writes the page of a curation.

    Attributes:
        folder: what was curated.
        settings: how many pictures.
        reader: how frames are read.
        media_root: folder below which the videos lie.
    """

    folder: CurationFolder
    settings: ReportSettings
    reader: ClipReader
    media_root: Path

    def write(self) -> Path:
        """The page, `report/index.html` of the folder. Raises StorageError."""
        summary, decisions = self.folder.summary(), self.folder.decisions()
        parts = [
            "<h1>Curation</h1>",
            rows_table(summary["rows"]),
            reasons_table(summary["reasons"]),
            "<h2>Kept</h2>",
            *self._kept(decisions),
            "<h2>Dropped</h2>",
            *self._dropped(decisions),
        ]
        path = self.folder.path / "report" / NAME
        write_atomically(path, page("\n".join(parts)))
        return path

    def _kept(self, decisions: Sequence[Decision]) -> Iterator[str]:
        done = [stage for stage in self.folder.stages if stage in self.folder.summary()["rows"]]
        candidates = self.folder.candidates_after(done[-1]) if done else []
        for candidate in self._drawn(candidates):
            changes = [one for one in decisions if one.sample == candidate.id and one.verdict == CHANGED]
            yield self._figure(candidate, changes)

    def _dropped(self, decisions: Sequence[Decision]) -> Iterator[str]:
        groups: dict[tuple[str, str], list[Decision]] = {}
        for decision in decisions:
            if decision.verdict == DROPPED:
                groups.setdefault((decision.stage, decision.reason), []).append(decision)
        latest = self._latest()
        for (stage, reason), group in groups.items():
            yield f"<h3>{_safe(stage)}: {_safe(reason)} ({len(group)})</h3>"
            for one in sorted(group, key=lambda one: self._lot(one.sample))[: self.settings.dropped]:
                changes = [other for other in decisions if other.sample == one.sample and other.verdict == CHANGED]
                known = latest.get(one.sample)
                yield self._figure(known, [*changes, one]) if known else f"<p>{described(one)}</p>"

    def _latest(self) -> dict[str, Candidate]:
        """Each candidate as the last stage that let it through left it."""
        latest: dict[str, Candidate] = {}
        for stage in self.folder.summary()["rows"]:
            latest |= {candidate.id: candidate for candidate in self.folder.candidates_after(stage)}
        return latest

    def _drawn(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        return sorted(candidates, key=lambda one: self._lot(one.id))[: self.settings.kept]

    def _lot(self, name: str) -> str:
        return hashlib.sha256(f"{self.settings.seed}/{name}".encode()).hexdigest()

    def _figure(self, candidate: Candidate, notes: Sequence[Decision]) -> str:
        lines = "<br>".join(described(note) for note in notes)
        caption = f"<figcaption><b>{_safe(candidate.id)}</b> {_safe(candidate.source)}<br>{lines}</figcaption>"
        try:
            picture = data_url(self._picture(candidate))
        except MediaError as error:
            return f"<figure>{caption}<p>no picture: {_safe(error.reason)}</p></figure>"
        return f'<figure>{caption}<img src="{picture}" alt="{_safe(candidate.question)}"></figure>'

    def _picture(self, candidate: Candidate) -> Image.Image:
        """Claims of the reasoning solid, annotations dashed."""
        path = inside(self.media_root, candidate.video)
        if path is None:
            raise MediaError(candidate.video, "no file below the media root")
        reader = replace(self.reader, sampling=replace(self.reader.sampling, insert_key_frames=True))
        clip = reader.read_video(path, tuple(frame.time_s for frame in candidate.key_frames), FACTOR, None)
        completion = parse_completion(render_target(candidate.reasoning, candidate.answer), BoxScale(1, 1))
        return evidence_picture(clip, completion, candidate.question or candidate.description, _sample(candidate, path))


def rows_table(rows: Mapping[str, int]) -> str:
    """Rows after each stage.

    >>> rows_table({"filter": 3}).count("<tr>")
    2
    """
    return table(("after", "rows"), list(rows.items()))


def reasons_table(reasons: Mapping[str, Mapping[str, int]]) -> str:
    """Decisions by stage and reason."""
    return table(
        ("stage", "decision", "count"), [(stage, name, n) for stage, of in reasons.items() for name, n in of.items()]
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    r"""An HTML table, numbers to the right, every text escaped.

    >>> table(("a",), [("<b>",)])
    '<table><tr><th>a</th></tr>\n<tr><td>&lt;b&gt;</td></tr></table>'
    """
    first = "".join(f"<th>{_safe(name)}</th>" for name in head)
    lines = ["".join(f"<td{' class=n' * isinstance(cell, int)}>{_safe(cell)}</td>" for cell in row) for row in rows]
    return f"<table><tr>{first}</tr>\n" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def described(decision: Decision) -> str:
    """A decision in one line of HTML."""
    values = json.dumps(dict(decision.values), ensure_ascii=False)[:400]
    said = f"{_safe(decision.stage)}: {_safe(decision.verdict)}, {_safe(decision.reason)}"
    return said + (f" <code>{_safe(values)}</code>" if decision.values else "")


def page(body: str) -> str:
    """A whole HTML page without scripts or links to elsewhere."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Curation</title>'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def data_url(picture: Image.Image) -> str:
    """A picture inside the page."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _safe(text: object) -> str:
    return html.escape(str(text).encode("utf-8", "replace").decode("utf-8"))


def _sample(candidate: Candidate, path: Path) -> Sample:
    return Sample(
        id=candidate.id,
        source=candidate.source,
        task=Task.TEMPORAL_SPATIAL,
        question=candidate.question,
        answer=candidate.answer,
        reasoning=candidate.reasoning,
        video_path=path,
        image_path=None,
        key_frames=candidate.key_frames,
        span_s=candidate.span_s,
        box=None,
        letter=None,
    )
