"""What a release consists of: the judged bytes, what a device must know, and the evidence."""
