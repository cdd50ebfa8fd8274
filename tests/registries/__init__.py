"""The client against other registries, each a separate process."""
