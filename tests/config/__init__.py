"""The configuration file: what it accepts, what it says of mistakes, and what is served of it."""
