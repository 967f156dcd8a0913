"""Rows and media files damaged in every way that a disk, a network or a script does it; to try the check with."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np

Rng = np.random.Generator

STRANGE: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    10**400,
    "",
    " ",
    "nan",
    "../../etc/passwd",
    "/etc/passwd",
    "a\0b",
    "\ud800",
    "\u202e\x1b[2J",
    "<box>[0,0,1,1]</box>" * 50,
    "<box>" * 500,
    "[" * 500,
    "9" * 500,
    "x" * 20_000,
    [],
    [None],
    [[]],
    {},
    {"": None},
    {"a": {"b": {"c": []}}},
)
"""Values that stand where others belong."""


def damage_row(row: dict[str, Any], rng: Rng) -> tuple[str, bytes]:
    """A row as a file might hold it after some mishap.

    Args:
        row: a good one; it is left as it is.
        rng: decides the mishap.

    Returns:
        (name of the mishap, bytes that stand for the row in the file).
    """
    name = str(rng.choice(list(ROW_DAMAGES)))
    return name, ROW_DAMAGES[name](row, rng)


def damage_file(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """The bytes of a media file after some mishap, and the mishap's name."""
    name = str(rng.choice(list(FILE_DAMAGES)))
    return name, FILE_DAMAGES[name](data, rng)


def _text(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode()


def _flip(data: bytes, rng: Rng, count: int) -> bytes:
    flipped = bytearray(data)
    for place in rng.integers(0, len(data), count).tolist():
        flipped[place] ^= 1 << int(rng.integers(8))
    return bytes(flipped)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where values stand in a row, at every depth."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inner for found in [(*path, key), *_places(item, (*path, key))]]


def _parent(row: dict[str, Any], rng: Rng) -> tuple[Any, Any]:
    """A copy's list or object, and one of its keys."""
    places = _places(row)
    path = places[int(rng.integers(len(places)))]
    node: Any = row
    for key in path[:-1]:
        node = node[key]
    return node, path[-1]


def _strange(row: dict[str, Any], rng: Rng) -> bytes:
    changed = copy.deepcopy(row)
    node, key = _parent(changed, rng)
    node[key] = STRANGE[int(rng.integers(len(STRANGE)))]
    return _text(changed)


def _without(row: dict[str, Any], rng: Rng) -> bytes:
    changed = copy.deepcopy(row)
    node, key = _parent(changed, rng)
    del node[key]
    return _text(changed)


def _moved(row: dict[str, Any], rng: Rng) -> bytes:
    """A value of one place in another."""
    changed = copy.deepcopy(row)
    (node, key), (other, other_key) = _parent(changed, rng), _parent(changed, rng)
    node[key] = copy.deepcopy(other[other_key])
    return _text(changed)


def _deep(row: dict[str, Any], rng: Rng) -> bytes:
    depth = int(rng.choice([50, 500, 900, 5000, 50_000]))
    key = str(rng.choice(["question", "key_frames", "key_items", "answer", "new"]))
    opening, closing = ("[", "]") if rng.random() < 0.5 else ('{"a":', "}")
    nested = opening * depth + "1" + closing * depth
    return _text({**row, key: "@"}).replace(b'"@"', nested.encode())


def _digits(row: dict[str, Any], rng: Rng) -> bytes:
    """A number of thousands of digits, which no integer may have."""
    key = str(rng.choice(["id", "image_size", "question", "answer"]))
    return _text({**row, key: "@"}).replace(b'"@"', b"9" * 10_000)


def _encoding(row: dict[str, Any], rng: Rng) -> bytes:
    text = json.dumps({**row, "question": f"Où est le café n° {rng.integers(100)} ?"}, ensure_ascii=False)
    return text.encode(str(rng.choice(["latin-1", "utf-16", "utf-16-le", "cp037"])))


ROW_DAMAGES: Final[dict[str, Callable[[dict[str, Any], Rng], bytes]]] = {
    "flipped bits": lambda row, rng: _flip(_text(row), rng, int(rng.integers(1, 20))),
    "cut off": lambda row, rng: _text(row)[: int(rng.integers(1, len(_text(row))))],
    "strange value": _strange,
    "without a value": _without,
    "value of another place": _moved,
    "deep": _deep,
    "thousands of digits": _digits,
    "another encoding": _encoding,
    "no object": lambda row, rng: json.dumps(STRANGE[int(rng.integers(len(STRANGE)))]).encode(),
}
"""Name -> what happens to a row."""


def _zeroed(data: bytes, rng: Rng) -> bytes:
    start = int(rng.integers(len(data)))
    length = int(rng.integers(1, max(len(data) // 2, 2)))
    return data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]


def _repeated(data: bytes, rng: Rng) -> bytes:
    start, end = sorted(rng.integers(0, len(data), 2).tolist())
    return data[:end] + data[start:end] + data[end:]


FILE_DAMAGES: Final[dict[str, Callable[[bytes, Rng], bytes]]] = {
    "one flipped bit": lambda data, rng: _flip(data, rng, 1),
    "flipped bits": lambda data, rng: _flip(data, rng, int(rng.integers(2, 200))),
    "flipped bits of the header": lambda data, rng: _flip(data[:512], rng, 8) + data[512:],
    "flipped bits at the end": lambda data, rng: data[:-512] + _flip(data[-512:], rng, 8),
    "cut off": lambda data, rng: data[: int(rng.integers(len(data)))],
    "without its start": lambda data, rng: data[int(rng.integers(1, len(data))) :],
    "a part is zero": _zeroed,
    "a part twice": _repeated,
    "noise": lambda data, rng: rng.bytes(len(data)),
}
"""Name -> what happens to a file's bytes."""
