"""Brings the parts of docs/protocol.md that are made of the code up to date, and docs/protocol.schema.json.

python tools/write_protocol.py
"""

from __future__ import annotations

from pathlib import Path

from recsvc.protocol.tables import filled_in, schema_text

DOCS = Path(__file__).resolve().parents[1] / "docs"
DOCUMENT, SCHEMA = DOCS / "protocol.md", DOCS / "protocol.schema.json"


def main() -> None:
    DOCUMENT.write_text(filled_in(DOCUMENT.read_text()))
    SCHEMA.write_text(schema_text())


if __name__ == "__main__":
    main()
