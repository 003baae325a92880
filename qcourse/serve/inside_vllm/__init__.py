"""What runs inside vLLM's own process and environment; nothing of the course imports it."""
