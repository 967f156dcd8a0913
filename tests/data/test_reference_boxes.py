"""Box texts of the released code: golden lines in both definitions."""

import pytest

from o3v.data.reference_boxes import corner_box, espresso_boxes, resize_boxes, scale_boxes
from o3v.errors import ConfigError
from tests.golden.lines import both, read_lines

FUNCTIONS = {
    "resize_bounding_boxes_for_image": lambda line, definition: resize_boxes(
        line["text"], tuple(line["old_size_w_h"]), tuple(line["new_size_w_h"]), definition
    ),
    "replace_boxes_for_gemini_data": lambda line, definition: scale_boxes(
        line["text"], tuple(line["size_w_h"]), definition
    ),
    "replace_boxes_for_videoespresso": lambda line, definition: espresso_boxes(
        line["text"], tuple(line["size_w_h"]), definition
    ),
    "convert_coord_format_espressso": lambda line, definition: list(
        corner_box(line["box_cxcywh_per_mille"], tuple(line["size_w_h"]))
    ),
}


def expected(line, definition):
    """The golden value; None for a corrected one where the released code raises without a named reason."""
    if definition == "reference" or line["deviation"] is None:
        return line["expected"]
    return line["expected_corrected"]


@both
@pytest.mark.parametrize("definition", ["reference", "corrected"])
def test_golden(folder, definition):
    for line in read_lines(folder, "sft_boxes"):
        found, wanted = FUNCTIONS[line["function"]](line, definition), expected(line, definition)
        if isinstance(wanted, list):
            assert found == pytest.approx(wanted, abs=1e-6)
        elif definition == "reference" or wanted is not None:
            assert found == wanted, line["id"]
        else:
            assert found is not None  # what cannot be read stays as it stands


def test_an_unknown_definition_is_refused():
    with pytest.raises(ConfigError, match="definition='other'"):
        scale_boxes("<box>[1,2,3,4]</box>", (2, 2), "other")
