"""The octaves in which rooms are measured, made and described."""

from __future__ import annotations

BANDS = 8
LOWEST_BAND_HZ = 62.5

CENTRES_HZ = tuple(LOWEST_BAND_HZ * 2.0**b for b in range(BANDS))
"""62.5 Hz .. 8 kHz."""

NOMINAL_HZ = (63.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
"""What people call them, after ISO 266."""

BAND_NAMES = ("63", "125", "250", "500", "1k", "2k", "4k", "8k")
"""What knobs call them."""
