"""The endpoints of the local server, a module for each of the API's nouns. They have no state of their own."""
