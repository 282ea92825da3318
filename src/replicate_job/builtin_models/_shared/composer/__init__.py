"""A small procedural composer: harmony, melody and synthesis in numpy, no trained weights."""
