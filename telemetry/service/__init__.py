"""The HTTP side: what devices send, what people look at. FastAPI and nothing of the database's kind."""
