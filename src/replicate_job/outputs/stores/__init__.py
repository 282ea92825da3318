"""Outputs in object stores: S3, Google Cloud Storage, Azure. On ``obstore``, which is imported when one is used."""
