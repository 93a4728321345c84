"""Running a pipeline: its nodes one by one, in this process, and what is looked at before each."""
