"""An OCI registry as a library: an ASGI handler over any backend."""
