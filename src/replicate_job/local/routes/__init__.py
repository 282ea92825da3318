"""The endpoints of the local server, a module a noun: requests in, answers out, no state of their own."""
