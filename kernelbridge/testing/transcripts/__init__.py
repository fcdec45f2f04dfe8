"""Transcripts: what passed between a kernel and its frontends, written down, played again, compared.

The file has JSON lines. The first is ``{"format": "kernelbridge transcript", "version": 1}``. Each other line is what
passed once, in the order as it was seen:

===================  ==================================================================================================
``direction``        ``->`` to the kernel, ``<-`` from it
``channel``          ``shell``, ``iopub``, ``stdin``, ``control`` or ``hb``
``seconds``          since the start
``header``           as in the messaging specification ("General Message Format"), as are the next four
``parent_header``    ``{}`` where there is none
``metadata``
``content``
``buffers``          a list of base64 texts; left out where there are none
``identities``       what stood before the message: on IOPub the topic, on the others whose it is, each in base64;
                     left out where there are none
===================  ==================================================================================================

What was no message - a subscription, a heartbeat, rubbish - has ``frames``, each in base64, and a ``note`` that says
what they are, in place of all from ``header`` on; on all channels but IOPub the first frame says whose it is. The
signatures of messages and the key are not written.

A transcript comes from a `ProtocolClient` (``Transcript.of(client)``), or from a `Recorder`, which stands between any
kernel and any frontends. `play_frontend` and `play_kernel` play one again.
"""

from __future__ import annotations

from kernelbridge.testing.transcripts.as_frontend import play_frontend
from kernelbridge.testing.transcripts.as_kernel import play_kernel
from kernelbridge.testing.transcripts.recorder import Recorder
from kernelbridge.testing.transcripts.records import Record, TranscriptError
from kernelbridge.testing.transcripts.store import StoredTranscripts
from kernelbridge.testing.transcripts.transcript import Transcript

__all__ = [
    "Record",
    "Recorder",
    "StoredTranscripts",
    "Transcript",
    "TranscriptError",
    "play_frontend",
    "play_kernel",
]
