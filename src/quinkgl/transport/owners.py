"""To whom the contents of sent packets belong: who hears that they arrived, or has to send them again."""

from __future__ import annotations

from quinkgl.transport.connection_ids import LocalIds, RemoteIds
from quinkgl.transport.contents import (
    AckSent,
    Contents,
    MaxControlSent,
    MaxDataSent,
    NewCidSent,
    RetireCidSent,
)
from quinkgl.transport.control_stream import ControlPiece
from quinkgl.transport.frame_packets import FramePackets
from quinkgl.transport.object_sender import Chunk
from quinkgl.transport.objects import ObjectExchange
from quinkgl.transport.received import ReceivedPackets
from quinkgl.transport.recovery import RunPart, spans
from quinkgl.wire.packets import BULK_OVERHEAD_BYTES


class ContentOwners:
    """Hands contents back to the part of a session that they came from."""

    __slots__ = ("_frames", "_local_ids", "_objects", "_received", "_remote_ids")

    def __init__(
        self,
        frames: FramePackets,
        objects: ObjectExchange,
        received: ReceivedPackets,
        local_ids: LocalIds,
        remote_ids: RemoteIds,
    ) -> None:
        self._frames = frames
        self._objects = objects
        self._received = received
        self._local_ids = local_ids
        self._remote_ids = remote_ids

    def on_acknowledged(self, contents: Contents) -> None:
        """Tell the part that a packet's contents came from that they arrived."""
        for content in contents:
            match content:
                case ControlPiece():
                    self._frames.control_out.on_acknowledged(content)
                case AckSent(largest):
                    self._received.on_ack_acknowledged(largest)
                case RetireCidSent(sequence):
                    self._remote_ids.on_acknowledged(sequence)
                case _:
                    pass

    def send_again(self, part: RunPart[Contents]) -> None:
        """Give a lost packet's contents back to the part that they came from."""
        for content in part.contents:
            match content:
                case Chunk(transfer, start, stop):
                    step = part.run.size - BULK_OVERHEAD_BYTES
                    for low, high in spans(part.mask):
                        lost = Chunk(transfer, start + low * step, min(stop, start + high * step))
                        self._objects.on_chunk_lost(lost)
                case ControlPiece():
                    self._frames.control_out.on_lost(content)
                case MaxControlSent():
                    self._frames.max_control_due = True
                case MaxDataSent(transfer):
                    self._objects.on_credit_lost(transfer)
                case NewCidSent(entry):
                    self._local_ids.on_lost(entry)
                case RetireCidSent(sequence):
                    self._remote_ids.on_lost(sequence)
                case AckSent():
                    pass  # later ACKs tell the same and more
