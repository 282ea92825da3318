"""Records traffic with Replicate once, and replays it without a network."""
