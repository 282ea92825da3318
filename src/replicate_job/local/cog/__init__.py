"""Model servers: Cog's own, each a group of processes, spoken to over loopback HTTP."""
