"""Makes a model ready to run: its Python environment and its schema."""
