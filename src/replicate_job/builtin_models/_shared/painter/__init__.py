"""A procedural painter: numpy and Pillow, no trained weights. Prompts that it cannot paint become a card with text."""
