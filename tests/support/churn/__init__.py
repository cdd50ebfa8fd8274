"""Load from clients that push, mount, pull and delete the same contents, while collection runs without a pause.

All clients record promises in one ledger. An image is promised from the 201 for its manifest until a client begins to
delete it, one of its blobs, or its tag. While it is promised, a pull must return all of it.
"""
