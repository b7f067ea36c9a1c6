"""How a change comes in: parsed, validated and appended to the log. HTTP itself is in `http/`, snapshots are in `snapshots/`."""
