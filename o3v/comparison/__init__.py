"""Arms of a study beside each other: what was measured, how sure it is, and what did not finish.

`study.py` what is asked of a declared study, `collect.py` reads its runs, `student.py`, `twoway.py` and `pseudo.py` are
the statistics, `tables.py` makes the tables, `curves.py` the training curves, `examples.py` the same samples side by
side; `text.py`, `latex.py`, `record.py` and `page.py` (with `svg.py`, `markup.py`) write them down.
"""
