"""The provenance in a DSSE envelope: what cosign, slsa-verifier and other tools take, signed by the publisher's key.

The bundle's own hash is signed by TUF already; the envelope's signature stays with the statement when that leaves the repository.
https://github.com/secure-systems-lab/dsse/blob/master/envelope.md
"""

from __future__ import annotations

import json

from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signer

#: The envelope's file in a bundle, beside the statement.
ENVELOPE_FILE = "provenance.dsse.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def sealed(statement: bytes, signer: Signer) -> bytes:
    """Returns the envelope of an in-toto statement."""
    envelope = Envelope(statement, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return (json.dumps(envelope.to_dict(), indent=2, sort_keys=True) + "\n").encode()
