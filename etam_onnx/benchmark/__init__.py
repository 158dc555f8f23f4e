"""How long tracking takes and where the time goes, on ONNX Runtime and in PyTorch, in turns on the same machine."""
