"""Named values as events: what a source calls a column or a member becomes a part of an event, as configured."""
