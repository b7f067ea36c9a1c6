"""Each runbook of docs/runbooks.md is played through: a real trouble is made, and the page's commands end it."""
