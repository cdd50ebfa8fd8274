"""The client backend against misbehaving registries, and the requests that it sends."""
