"""Who is asking, and what they may do. Parts alone are tested here; tests/auth/test_* over HTTP test the whole."""
