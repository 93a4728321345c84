"""`python -m edgeproof_edge`: the command `edgeproof-edge`."""

from __future__ import annotations

from edgeproof_edge.commands import main

if __name__ == "__main__":
    main()
