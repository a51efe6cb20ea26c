"""One setting, as the table declares it."""

from dataclasses import dataclass

from sealwax.config.kinds import Kind

PREFIX = "SEALWAX_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: The environment variable.
        kind: How its text is read, with unit and bounds.
        default: The text that stands for it where it is not set.
        doc: What it does, one or two sentences.
        computed: What an empty default means, for the manual; empty where the default says it.
        secret: Whether the value must never be printed.
        of_up: Whether it means anything to `sealwax up`, which then has a flag for it.
    """

    name: str
    kind: Kind
    default: str
    doc: str
    computed: str = ""
    secret: bool = False
    of_up: bool = True

    @property
    def key(self) -> str:
        """The name in code: `SEALWAX_DATA_DIR` is `data_dir`."""
        return self.name.removeprefix(PREFIX).lower()

    @property
    def flag(self) -> str:
        """The flag of `sealwax up`: `--data-dir`."""
        return "--" + self.key.replace("_", "-")
