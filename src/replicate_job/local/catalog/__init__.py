"""The models that there are, and their versions."""
