"""Servers that a test starts around any ASGI application: uvicorn in a thread, granian as a process."""
