"""A grounded answer as one picture: question, cited frames, timeline, answer. `frame.py` draws a single frame."""

from __future__ import annotations

import re
from collections.abc import Sequence

from PIL import Image, ImageDraw

from o3v.evidence.cited import CitedFrame, cited_frames
from o3v.evidence.frame import draw_frame
from o3v.evidence.text import FAINT, INK, Colour, clean, line_height, wrap, write_lines
from o3v.evidence.timeline import MODEL, TRUTH, draw_timeline
from o3v.grounding.render import render_time
from o3v.types import Clip, Completion, Sample

MAX_FRAMES = 8
"""Frames of the strip; the others are counted below it."""

MIN_WIDTH_PX = 760
_COLUMNS = 4
_GAP_PX = 10
_TITLE_PX, _TEXT_PX, _SMALL_PX = 19, 16, 13
_MAX_FRAME_WIDTH_PX = 460

Block = Image.Image
"""A part of the page; blocks are set below each other."""


def evidence_picture(clip: Clip, completion: Completion, question: str, sample: Sample | None) -> Image.Image:
    """What the model answered, and where it says that it saw it.

    The strip has the frames that the model cites or that are annotated; without any, three frames over the clip.
    Boxes of the model are solid, annotated ones dashed; one colour a name.

    Args:
        clip: the frames that the model saw.
        completion: its parsed answer; every text can be drawn.
        question: as asked.
        sample: with the annotation; None where there is none, as for one's own video.

    Returns:
        RGB picture, as wide as its strip and at least `MIN_WIDTH_PX`.
    """
    chosen, left_out = _chosen(cited_frames(clip, completion, sample))
    frames = _frame_pictures(clip, chosen)
    columns = min(_COLUMNS, len(frames))
    width = max(MIN_WIDTH_PX, columns * frames[0].width + (columns + 1) * _GAP_PX)
    blocks = [paragraph(question, _TITLE_PX, INK, width, 4), strip(frames, columns, width)]
    if left_out:
        blocks.append(paragraph(f"and {left_out} more cited or annotated frames", _SMALL_PX, FAINT, width, 1))
    if clip.times_s:
        blocks.append(draw_timeline(clip, completion, sample, width, None))
    blocks += answer_blocks(completion, sample, width)
    return stack(blocks, width)


def evidence_strip(
    clip: Clip, completion: Completion, sample: Sample | None, columns: int, frame_px: int
) -> Image.Image:
    """The frames and the timeline of `evidence_picture` without its words, for a page that writes them itself.

    Args:
        clip: the frames that the model saw.
        completion: its parsed answer; every text can be drawn.
        sample: with the annotation; None where there is none.
        columns: frames beside each other.
        frame_px: width of a frame, where it is not a whole multiple of it; a single one is as wide as the strip.
    """
    chosen, _ = _chosen(cited_frames(clip, completion, sample))
    width = columns * frame_px + (columns + 1) * _GAP_PX
    widest = frame_px if len(chosen) > 1 else width - 2 * _GAP_PX
    colours: dict[str, Colour] = {}
    frames = [
        draw_frame(
            clip.frames[one.index],
            one.claimed,
            frame_caption(clip, one),
            one.annotated,
            colours,
            min_side_px=round(widest * 0.75),
            max_width_px=widest,
        )
        for one in chosen
    ]
    blocks = [strip(frames, columns, width)]
    if clip.times_s:
        blocks.append(draw_timeline(clip, completion, sample, width, None))
    return stack(blocks, width)


def readable(text: str) -> str:
    """An answer without the tags of the grammar; boxes are drawn, so their numbers are left out.

    >>> readable("From <t>2.0</t>s to <t>4.5</t>s"), readable("<obj>cat</obj><box>[1,2,3,4]</box>")
    ('From 2.0 s to 4.5 s', 'cat (box)')
    """
    without_boxes = re.sub(r"<box>[^<]*</box>", " (box)", text)
    return re.sub(r"</?\w+>", "", re.sub(r"</t>s\b", " s", without_boxes)).strip()


def answer_blocks(completion: Completion, sample: Sample | None, width: int) -> list[Block]:
    """The answer, the annotated answer and the legend; without an answer block the raw text, said so."""
    if completion.answer is not None:
        blocks = [paragraph(f"Answer: {readable(completion.answer)}", _TEXT_PX, MODEL, width, 4)]
    else:
        blocks = [paragraph(f"No answer could be read: {completion.text}", _TEXT_PX, (190, 40, 40), width, 4)]
    if sample is not None:
        blocks.append(paragraph(f"Annotated: {readable(sample.answer)}", _TEXT_PX, TRUTH, width, 3))
    legend = "solid box: model" + (", dashed box: annotation" if sample is not None else "")
    return [*blocks, paragraph(legend, _SMALL_PX, FAINT, width, 1)]


def stack(blocks: Sequence[Block], width: int) -> Image.Image:
    """Blocks below each other on white."""
    height = sum(block.height + _GAP_PX for block in blocks) + _GAP_PX
    page = Image.new("RGB", (width, height), (255, 255, 255))
    y = _GAP_PX
    for block in blocks:
        page.paste(block, (0, y))
        y += block.height + _GAP_PX
    return page


def paragraph(text: str, size_px: int, colour: Colour, width: int, max_lines: int) -> Block:
    """A text broken into at most `max_lines` lines."""
    lines = wrap(clean(text), size_px, width - 2 * _GAP_PX, max_lines)
    block = Image.new("RGB", (width, max(1, len(lines)) * line_height(size_px)), (255, 255, 255))
    write_lines(ImageDraw.Draw(block), (_GAP_PX, 0), lines, size_px, colour)
    return block


def frame_caption(clip: Clip, frame: CitedFrame) -> str:
    """Time of a frame and the cited times where they differ from it, as `3.0 s (cited 3.4 s)`."""
    if not clip.times_s:
        return ""
    time_s = clip.times_s[frame.index]
    other = [render_time(cited) for cited in frame.times_s if abs(cited - time_s) >= 0.05]
    return f"{time_s:.1f} s" + (f" (cited {', '.join(other)} s)" if other else "")


def _chosen(frames: Sequence[CitedFrame]) -> tuple[list[CitedFrame], int]:
    """Frames that are cited or annotated, cited ones first where there are too many; else first, middle and last.

    Returns:
        The frames in order of time, and how many had no room.
    """
    cited = [frame for frame in frames if frame.times_s or frame.claimed]
    annotated = [frame for frame in frames if frame.annotated and frame not in cited]
    found = cited + annotated or [frames[k] for k in sorted({0, len(frames) // 2, len(frames) - 1})]
    return sorted(found[:MAX_FRAMES], key=lambda frame: frame.index), len(found[MAX_FRAMES:])


def _frame_pictures(clip: Clip, frames: Sequence[CitedFrame]) -> list[Image.Image]:
    colours: dict[str, Colour] = {}
    max_width_px = _MAX_FRAME_WIDTH_PX if len(frames) > 1 else MIN_WIDTH_PX - 2 * _GAP_PX
    return [
        draw_frame(
            clip.frames[frame.index],
            frame.claimed,
            frame_caption(clip, frame),
            frame.annotated,
            colours,
            max_width_px=max_width_px,
        )
        for frame in frames
    ]


def strip(frames: Sequence[Image.Image], columns: int, width: int) -> Block:
    """Pictures in rows of equal cells on a page of this width."""
    rows = -(-len(frames) // columns)
    cell_width, cell_height = frames[0].width + _GAP_PX, max(frame.height for frame in frames) + _GAP_PX
    page = Image.new("RGB", (width, rows * cell_height - _GAP_PX), (255, 255, 255))
    for index, frame in enumerate(frames):
        page.paste(frame, (_GAP_PX + index % columns * cell_width, index // columns * cell_height))
    return page
