"""What devices report back: the ingest service and its store. Knows edgeproof_edge's models, never components.

Nothing is here yet; devices run what the Pusher publishes without it.
"""
