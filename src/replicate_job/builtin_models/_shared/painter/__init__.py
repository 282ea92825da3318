"""A procedural painter: numpy and Pillow, no trained weights. What it can't paint becomes a card."""
