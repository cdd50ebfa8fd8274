"""Input that nobody sends by accident, as raw bytes to a real server, and what it gets."""
