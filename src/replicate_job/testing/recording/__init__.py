"""Real traffic with Replicate, recorded once and replayed without a network."""
