"""A device that looks after itself: what it is enrolled for, what its machine says, and the loop that updates and reports."""
