"""The client against registries that are not ours, started as processes of their own."""
