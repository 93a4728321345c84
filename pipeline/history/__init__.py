"""Past runs: what is kept of them, what a person reads, what differs between two."""
