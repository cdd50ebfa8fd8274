"""Hostile input, sent as raw bytes to a real server, and the answers."""
