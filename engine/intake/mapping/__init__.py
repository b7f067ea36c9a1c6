"""Maps named values to events: the configuration says which column or member gives which part."""
