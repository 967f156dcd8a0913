"""Pictures and films of grounded answers: what the model claims (solid) beside what is annotated (dashed).

`text.py` words in pixels, `frame.py` one frame with boxes, `timeline.py` the bar of seconds, `cited.py` which frame a
claim belongs to, `draw.py` a whole answer, `film.py` the same moving, `table.py` completions as rows. Boxes
come normalised, so they fit every size; what a model writes, inverted or far outside, is drawn and never raises.
"""
