"""What predictions cost: prices, what a prediction used, and both together. Without I/O, but for the price tables."""
