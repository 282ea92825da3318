"""Building blocks of a server with Replicate's HTTP API, shared by the local server and the scripted one."""
