"""Test-time scaling: several answers to one question, and which of them is believed.

    paths.py        the nouns: a model's text -> what votes need of it: answer, thinking, claims (`Path`)
    crops.py        claims -> which part of which frame is shown to the scorer
    scorer.py       the question put to the model about these crops, and what its reply is worth
    vote.py         paths -> one answer: none, majority, confidence, evidence
    consistency.py  how far a path's evidence agrees with that of the paths with the same answer
    voter.py        all of it behind one configured object (conf/voting)
    scaling.py      accuracy against the number of paths and tokens, from paths that were drawn once
    table.py        the same as a table, JSON and a plot

What the released scripts do and what is done here, by slug (`definition=reference` and the default, `corrected`):

    no-valid-path-predicts-first-letter    "A" when no path has an answer; abstains, which counts as wrong
    all-zero-scores-predict-first-letter   "A" when every weight is 0; abstains
    tie-broken-by-letter                   the first letter of equals; abstains (`ties: abstain`) or takes the answer
                                           that was given first (`ties: first_path`)
    poison-number-raises,                  a time or box that is not finite ends the benchmark; such a claim is ignored
    poison-number-kills-worker
    negative-time-wraps-to-last-frames     a time before 0 reads the end of the video; such a claim has no frame
    more-than-10-crops-counts-as-none      a thorough path is scored as one without evidence; the first ten are shown
"""
