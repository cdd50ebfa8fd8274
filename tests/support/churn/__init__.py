"""A load of clients that push, mount, pull and delete the same contents, while collection runs without pause.

Every client notes in one ledger what was promised: an image is, from when its manifest was answered 201
until somebody begins to delete it, a blob of it, or its tag. What is promised has to be pullable, whole.
"""
