"""What devices report back: the ingest service, its database, and the pages that show it. Knows edgeproof_edge's models, never components.

Rules, in order: 1. An answer of 200 means that every event is on disk, once. 2. Who a device is comes from its token, never from
what it writes. 3. Nothing that a device sends is trusted: bounded before it is read, checked before it is stored, text for ever after.
4. One database, PostgreSQL or SQLite, behind one set of tables (``schemas/telemetry``); what differs is one file each.
"""
