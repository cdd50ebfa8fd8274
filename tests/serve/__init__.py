"""The runtime of `ociserver serve`."""
