"""How good are the masks: J and F against annotations, and baselines to stand beside."""
