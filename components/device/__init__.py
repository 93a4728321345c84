"""A device on the desk as part of the proof: what is to ship runs on it, and what it did is brought back.

Rules, in order: 1. The system's own ``ssh`` and ``adb`` make the connection, with the user's settings; nobody is asked for a password.
2. The device is left as it was (``edgeproof_edge.measuring``). 3. What cannot be measured is an error with its cause, never a figure.
"""
