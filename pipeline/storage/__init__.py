"""Where outputs lie: local folders and object stores, committed folders, and the lease on an output."""
