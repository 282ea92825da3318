"""Whisper tiny.en behind the inputs of Replicate's Whisper."""
