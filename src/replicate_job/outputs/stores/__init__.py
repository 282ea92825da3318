"""Outputs in object stores: S3, Google Cloud Storage, Azure. Uses ``obstore``, which is imported on first use."""
