"""What a number means: benchmark protocols, tables and report figures; uses ops, no ray."""
