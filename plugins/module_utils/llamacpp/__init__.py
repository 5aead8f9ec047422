"""What the containers of llama.cpp run."""
