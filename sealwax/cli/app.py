"""The command `sealwax`: one group of verbs per file, each imported when it is called."""

import sys
from importlib.metadata import version
from typing import NoReturn

from cyclopts import App

from sealwax.errors import SealwaxError

_INTERRUPTED = 130  # 128 + SIGINT, as shells count

# The texts stand here and not in the docstrings of the verbs, so that `--help` imports none.
VERBS = (
    ("up", "sealwax.cli.up:up", "Start the whole platform on one data directory."),
    ("send", "sealwax.cli.send:send", "Send one email and print its id."),
    ("trace", "sealwax.cli.trace:trace", "Show everything that happened to an email."),
    ("stats", "sealwax.cli.stats:stats", "Count what was sent, by day."),
    ("keys", "sealwax.cli.keys:app", "API keys: create, list, revoke."),
    ("domains", "sealwax.cli.domains:app", "Domains to send from: add, list, show, remove."),
    ("templates", "sealwax.cli.templates:app", "Stored templates: put, list, show."),
    ("analytics", "sealwax.cli.analytics:app", "ClickHouse: rebuild it from the log."),
    ("doctor", "sealwax.cli.doctor:doctor", "Show what stands in the way of the mail."),
    ("dead", "sealwax.cli.dead:app", "Records that could not be processed: list, show, replay."),
    ("replies", "sealwax.cli.replies:app", "Replies of servers: explain one, list the unknown."),
    ("shaping", "sealwax.cli.shaping:app", "Limits for mail to a destination: explain them."),
    ("check", "sealwax.cli.check:check", "Check the rules for shaping and for replies."),
    ("topics", "sealwax.cli.topics:app", "Topics in Kafka: list, apply."),
    ("log", "sealwax.cli.log:app", "The log: copy it from the data directory to Kafka."),
    ("version", "sealwax.cli.app:print_version", "Print the version."),
)

app = App(
    name="sealwax",
    help="A self-hosted email sending platform.",
    version=lambda: version("sealwax"),
)
for _name, _where, _help in VERBS:
    app.command(_where, name=_name, help=_help)


def print_version() -> None:
    """Print the version."""
    sys.stdout.write(f"sealwax {version('sealwax')}\n")


def main() -> NoReturn:
    """Runs the command line; what went wrong is one sentence on standard error and status 1."""
    try:
        app()
    except SealwaxError as error:
        sys.exit(f"sealwax: {error}")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        # The reader (`head`, a pager) has what it wanted.
        sys.stderr.close()
        sys.exit(0)
    sys.exit(0)
