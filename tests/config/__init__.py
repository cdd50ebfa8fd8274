"""The configuration file: what it accepts, its error messages, and what it builds."""
