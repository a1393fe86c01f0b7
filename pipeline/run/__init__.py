"""What a run leaves: its record, shards, accounts, summary, status and report."""
