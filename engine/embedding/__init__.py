"""The server and its dashboard inside another application: `pagefold.asgi`."""
