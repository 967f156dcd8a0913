"""From videos with a question or a description to rows with evidence, each decision on record.

The pipeline of Open-o3 Video (arXiv:2510.20579, 3.2, A.3, A.4) in stages, each a small module: `filters` (which
sources), `propose` (an annotator writes key frames, boxes and reasoning), `boxes` (their geometry), `verify` (is this
crop a NAME?), `consistency` (does the reasoning claim only what is annotated), `sentences` (does a sentence fit its
crop), `publish` (an STGR file). `pipeline` runs them; `items` has the nouns; annotators are in `remote` and `local`.
"""
