"""The whole product while something fails, and what must hold of it all the same."""
