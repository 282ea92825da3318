"""The cost of predictions: prices, usage, and charges that follow from both. Only the price tables need I/O."""
