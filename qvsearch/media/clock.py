"""Makes the time stamps of a stream go on where those in the file restart or leap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet

# seconds: a step back this large is a restart. Smaller ones come from coarse stamps and damage
RESTART = 0.5
# seconds: FFmpeg's own limit (dts_delta_threshold) for the containers that may restart
LEAP = 10.0


class Clock:
    """Shifts the packets of one stream, read in order from the file's beginning.

    After a restart they go on where the packets before it ended. `leaps` also closes gaps of more
    than `LEAP` seconds: in recordings that were joined, no time passed there.
    """

    def __init__(self, *, leaps: bool) -> None:
        self.restarted = False
        self._leaps = leaps
        self._shift = 0
        self._next: int | None = None  # the shifted stamp that the next packet should have

    def set(self, packet: Packet[Any]) -> None:
        """Shift a packet's stamps; one without a decoding time follows the packet before it."""
        seconds = packet.time_base
        if packet.dts is not None and seconds:
            ahead = 0 if self._next is None else (packet.dts + self._shift - self._next) * seconds
            if self._next is not None and (ahead < -RESTART or (self._leaps and ahead > LEAP)):
                self._shift = self._next - packet.dts
                self.restarted = True
            self._next = packet.dts + self._shift + (packet.duration or 0)
        if self._shift:
            packet.dts = None if packet.dts is None else packet.dts + self._shift
            packet.pts = None if packet.pts is None else packet.pts + self._shift
