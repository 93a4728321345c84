"""When to retrain: pure rules, a ledger of decisions, and launchers that start a run as a process or over Kubeflow's API.

Nothing is here yet; a run is started with ``edgeproof run``.
"""
