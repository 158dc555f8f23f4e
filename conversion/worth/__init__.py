"""What each rewriting of the `ort` graphs is worth: pairs of graphs with and without it, timed in turns.

`python -m etam_onnx.conversion.worth --help` measures; `registry.REWRITINGS` is the list.
"""
