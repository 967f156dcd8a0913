"""Who says whether an answer in words is right: rules, a language model on this machine, or one behind an endpoint.

A benchmark says what is asked (`o3v.benchmarks.question.Judged`); a judge gives a reply to each; `judging` puts the
scores into the records. Models are in conf/judge: rules, local, endpoint.
"""
