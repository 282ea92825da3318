"""Model servers: Cog's own servers, each a group of processes that gets its requests over loopback HTTP."""
