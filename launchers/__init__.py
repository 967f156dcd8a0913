"""Starting runs elsewhere: the only place that knows submitit. Sweeps start with `-m cluster=...` (conf/cluster)."""
