"""The endpoints of the local server, one module for each kind of object. They have no state of their own."""
