"""docs/settings.md, made from the table: `make docs` writes it, a test holds it to be current."""

from sealwax.config.setting import Setting
from sealwax.config.table import SETTINGS

_HEAD = """\
# Settings

This page is made from `sealwax/config/table.py` by `make docs`.

Settings are environment variables. Most are also flags of `sealwax up` of the same meaning,
which win over the variables. A variable that is empty counts as not set. A variable that begins
with `SEALWAX_` and is not on this page gives a warning. A value that cannot be read gives an error
that says what it should look like.

A duration is a whole number and `s`, `m`, `h` or `d`. A size is a whole number and `B`, `KB`, `MB`
or `GB`, where 1 KB is 1,024 bytes.

| Variable | Flag of `up` | Default | Value | What it does |
| --- | --- | --- | --- | --- |
"""


def manual() -> str:
    """The whole page."""
    return _HEAD + "".join(f"{_row(setting)}\n" for setting in SETTINGS)


def _row(setting: Setting) -> str:
    default = setting.computed or f"`{setting.default}`"
    flag = f"`{setting.flag}`" if setting.of_up else ""
    cells = (f"`{setting.name}`", flag, default, setting.kind.form, setting.doc)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    print(manual(), end="")  # noqa: T201 - this is what the command is for
