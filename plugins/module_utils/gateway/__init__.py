"""Questions put to a running LiteLLM gateway, and what a right answer is."""
