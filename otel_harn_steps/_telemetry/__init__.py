"""The names on the wire, and where records go."""
