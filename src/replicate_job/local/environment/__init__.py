"""What a model needs to run: its Python environment and its schema."""
