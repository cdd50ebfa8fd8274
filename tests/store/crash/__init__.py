"""Killing a server, at every point where what is on the disk changes and at any time, and starting it again.

What was answered 201 has to be there with its digest, what was answered 202 as deleted has to be gone, a check
finds nothing but unlinked bytes, and the client's next try succeeds.
"""
