"""What the collection knows about Ollama: model names, the server's HTTP API and the model registry."""
