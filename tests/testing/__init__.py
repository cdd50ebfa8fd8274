"""`ociserver.testing` as its users have it: the fixtures of the plugin, in this run and in runs of their own."""
