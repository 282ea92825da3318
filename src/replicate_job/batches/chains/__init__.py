"""Chains: run the jobs of a chain's steps for one input or for each row of a batch."""
