"""What is told of a verdict: the gate report, its builder, the advice and the sentences."""
