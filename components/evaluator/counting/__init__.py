"""What both models answered, as mergeable exact numbers: integer counts and sums per slice, before anybody judges them."""
