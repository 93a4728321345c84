"""Where a repository keeps its files: a directory or a bucket, and who is first where two write."""
