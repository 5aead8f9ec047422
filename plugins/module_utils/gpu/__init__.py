"""The GPUs of a box: what is there, whether Ollama can use it, and why not. Reads only."""
