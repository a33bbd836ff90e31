"""`python -m fxstyle.presets > presets/preset.schema.json` publishes the JSON Schema anew."""

from __future__ import annotations

from fxstyle.presets.schema import schema_text

print(schema_text(), end="")
