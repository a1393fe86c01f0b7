"""The stages of a reconstruction, from photo to committed shard, and what runs them in workers."""
