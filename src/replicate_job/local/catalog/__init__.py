"""The models that this machine can run, and their versions."""
