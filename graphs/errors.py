"""Errors of bundles."""


class BundleError(ValueError):
    """A bundle that cannot be used, said in one sentence: the file, the port, what was expected and what was found."""
