"""How a change comes in: parsed, validated and appended to the log. HTTP is in `http/`, snapshots in `snapshots/`."""
