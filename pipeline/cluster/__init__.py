"""Ray: sessions, worker pools, execution with retries, and tasks per item."""
