"""Models behind an endpoint that speaks OpenAI's chat protocol: one client, one place where replies are kept.

Judges of benchmarks and annotators of curation ask through it.
"""
