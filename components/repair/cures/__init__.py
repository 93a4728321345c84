"""The cures of the ladder: each changes the float graph, or says which part of it stays in float."""
