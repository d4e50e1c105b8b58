"""Writes the settings into docs/service.md, as `recsvc serve --print-config` shows them.

python tools/write_settings.py
"""

from pathlib import Path

from recsvc.serve.settings import Loaded, Settings

PAGE = Path(__file__).parents[1] / "docs" / "service.md"
SHOWN = {
    "spool": "~/.local/state/recsvc/recordings",
    "directory": "/run/user/1000/recsvc",
    "keys": "~/.config/recsvc/keys",
    "key_file": "~/.config/recsvc/service.key",
}
"""Defaults that depend on the user, as a reader understands them."""


def written(page: str) -> str:
    """The page with the settings as they are now."""
    before, mark, rest = page.partition("```toml\n")
    settings = Loaded(Settings.model_construct(**SHOWN), {}, True).as_toml().replace("# from default\n", "")
    return f"{before}{mark}{settings}{rest[rest.index('```') :]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
