"""Arrow schemas of every table, run logs and metrics."""
