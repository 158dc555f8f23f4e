"""How good are the masks: the protocols of the benchmarks, J and F against annotations, and baselines."""
