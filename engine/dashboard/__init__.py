"""The dashboard at `/ui`: pages for operators, made on the server, which work without JavaScript."""
