"""Model servers. They are Cog's own servers: groups of processes that receive requests over loopback HTTP."""
