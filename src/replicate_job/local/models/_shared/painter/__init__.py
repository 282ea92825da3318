"""A procedural landscape painter: numpy and Pillow, no trained weights."""
