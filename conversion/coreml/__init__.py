"""Core ML: graphs as packages (`packages`), reading packages, and running them where Core ML is not."""
