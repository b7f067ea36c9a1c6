"""What is read: pages, histories, status and readiness. Nothing here writes."""
