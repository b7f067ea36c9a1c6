"""Reads: pages, histories, status, readiness and health. Nothing here writes."""
