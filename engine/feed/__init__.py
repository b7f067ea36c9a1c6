"""The pages that changed after a cursor, in their newest state. What is sent to other systems is not here."""
