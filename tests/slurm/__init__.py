"""A true SLURM for tests: `up` and `down` start and end it, `lab` is what a test holds in its hands."""
