"""Helpers that all tests share: they start servers, find and run clients, and make images."""
