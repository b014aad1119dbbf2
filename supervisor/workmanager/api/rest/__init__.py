"""The REST API: FastAPI for the control plane, a plain ASGI endpoint for events."""
