"""What a server that speaks Replicate's HTTP API is made of; the scripted one and the real one share it."""
