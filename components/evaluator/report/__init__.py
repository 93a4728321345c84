"""What is told of a verdict: the gate report, its builder, the advice, the sentences and the page."""
