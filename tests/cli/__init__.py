"""Tests of the command line, against the process that a user starts."""
