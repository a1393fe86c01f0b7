"""What every command shares: parsing, help, exit status, interruption."""
