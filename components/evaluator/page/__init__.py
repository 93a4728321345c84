"""report.html: the evidence of one verdict, for people."""
