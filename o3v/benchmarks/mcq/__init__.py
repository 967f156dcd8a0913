"""Multiple-choice benchmarks: what Video-MME, WorldSense and VideoMMMU share.

`letters.py` reads the option letter of an answer; `rows.py` reads annotation files and finds media; `prompts.py` words
the question; `benchmark.py` scores, averages by field, and answers without looking; `saved.py` reads the answers of
other programs.
"""
