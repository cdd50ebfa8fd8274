"""The client backend against registries that misbehave, and what it sends where."""
