"""When to retrain: pure rules over evidence, a ledger of every decision, and launchers that start a run.

Rules, in order: 1. A rule is a function of evidence and nothing else: the same evidence gives the same finding. 2. Every decision is
written down with its numbers, also "no". 3. The same evidence starts nothing twice, however many watchers look at it, and after any
restart. 4. A run's release reaches its pipeline's channel (``dev``); promotion stays a person's act. 5. A latency regression alerts: a
new model would not cure it.
"""
