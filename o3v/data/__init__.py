"""Samples and batches: the STGR reader, the mix, the generated world, prompts in the order of a run."""
