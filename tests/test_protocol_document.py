"""``docs/protocol.md`` and the schema are what the code says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from recsvc.protocol.examples import EXAMPLES
from recsvc.protocol.public import PUBLIC, RESULTS, WAYS
from recsvc.protocol.schema import schema, undescribed
from recsvc.protocol.tables import filled_in, schema_text
from recsvc.wire import messages

DOCS = Path(__file__).resolve().parents[1] / "docs"
DOCUMENT = DOCS / "protocol.md"
MENDED_BY = "run: python tools/write_protocol.py"


def test_the_tables_in_the_document_are_those_of_the_code() -> None:
    text = DOCUMENT.read_text()
    assert text == filled_in(text), MENDED_BY


def test_the_schema_that_is_kept_is_that_of_the_code() -> None:
    assert (DOCS / "protocol.schema.json").read_text() == schema_text(), MENDED_BY


def test_a_document_that_lacks_a_part_is_no_document() -> None:
    text = DOCUMENT.read_text()
    without = re.sub(r"<!-- made: errors -->.*?<!-- end -->", "", text, flags=re.DOTALL)
    with pytest.raises(ValueError, match="errors"):
        filled_in(without)
    with pytest.raises(ValueError, match="nonsense"):
        filled_in(text + "<!-- made: nonsense -->\n<!-- end -->\n")


def test_the_command_prints_the_schema() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "recsvc", "protocol", "--schema"], check=True, capture_output=True, timeout=60, text=True
    )
    assert done.stdout == schema_text()


def test_every_field_is_described() -> None:
    assert not undescribed(), "say what they mean in their message's docstring or in recsvc/protocol/meanings.py"


def test_results_belong_to_requests() -> None:
    assert not [kind for kind in RESULTS if not issubclass(PUBLIC[kind], messages.Request)]


def test_a_kind_goes_one_way_alone() -> None:
    kinds = [kind for way in WAYS for kind in way.kinds]
    assert len(kinds) == len(set(kinds)) == len(PUBLIC)


def test_the_schema_has_every_message_and_names_nothing_that_it_lacks() -> None:
    made = schema()
    named = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(made)))
    assert named <= made["$defs"].keys()
    kinds = {form["properties"]["kind"]["enum"][0] for form in made["$defs"].values() if "v" in form["properties"]}
    assert kinds == PUBLIC.keys()


CODECS = {
    "client → control": messages.CALLER_REQUESTS,
    "client → catalog": messages.CATALOG_REQUESTS,
    "client → data": messages.DATA,
    "control socket": messages.REPLIES,
    "catalog socket": messages.REPLIES,
    "data socket": messages.SENDER,
    "events socket": messages.EVENTS,
}
ANSWERS = {"started": "start", "finished": "control", "welcome": "hello"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_is_taken(name: str) -> None:
    example = EXAMPLES[name]
    [codec] = [codec for way, codec in CODECS.items() if example.way.startswith(way)]
    message = codec.decode(messages.encode(example.header))
    if isinstance(message, messages.FrameHeader):
        assert example.payload is not None
        messages.check_payload(message, len(example.payload))
    if name in ANSWERS:
        msgspec.convert(example.header["result"], RESULTS[ANSWERS[name]])
    shown = DOCUMENT.read_text().partition(f"<!-- made: example {name} -->")[2].partition("<!-- end -->")[0]
    written = bytes.fromhex(" ".join(re.findall(r"^(?:[0-9a-f]{2} ?)+", shown, re.MULTILINE)))
    assert messages.encode(example.header) in written


def test_every_link_leads_somewhere() -> None:
    text = DOCUMENT.read_text()
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}
    missing = {link for link in re.findall(r"\]\(#([^)]+)\)", text) if link not in anchors}
    assert not missing
    for file in re.findall(r"\]\(([\w./]+)\)", text):
        assert (DOCS / file).exists(), file
