"""`python -m ociserver`, the same as `ociserver`."""

from ociserver.cli import main

main(prog_name="ociserver")
