"""What a run reads: listings, manifests, names and the plan of shards."""
