"""The ASGI application, driven in process: what it answers, and what it asks of its backend."""
