"""Commands for who writes a client: ``recsvc protocol``."""

from __future__ import annotations

from typing import Annotated

from .app import Option, app, fail, one_line


@app.command()
def protocol(
    schema: Annotated[bool, Option("--schema", help="Print all messages as JSON Schema.")] = False,
) -> None:
    """Help with writing a client in another language, by docs/protocol.md."""
    with one_line():
        if schema:
            from ...protocol.tables import schema_text

            print(schema_text(), end="")
        else:
            fail("name one of --schema, --check, --peer (see recsvc protocol --help)", 2)
