"""The Dockerfile, step by step, without Docker: `make image`, as root on Debian.

A stage is a folder that debootstrap filled, each RUN a chroot into it. The two base images are
imitated: Debian bookworm with this machine's Rust in /usr/local, or with Debian's own Python 3.11.
The context is what git knows of. At the end the last stage is started as its user, its health check
must pass, and a mail must reach a sink on this machine. Everything runs in namespaces of mounts and
pids of its own, so nothing is left mounted or running.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
IN_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
# How pip and cargo reach their registries here; of no use inside are the folders of this machine.
PASSED = re.compile(r"(PIP|CARGO)_(?!FIND_LINKS|HOME|CONSTRAINT)|.*_(proxy|PROXY)$|SSL_CERT_FILE$")
# Who signs for the registries here; a package may replace the system's own list.
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
CHROOT = shutil.which("chroot") or "chroot"
TRUST = ("PIP_CERT", "SSL_CERT_FILE", "CARGO_HTTP_CAINFO")
PYTHON = (
    "apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv "
    ">/dev/null && ln -s python3 /usr/bin/python"
)


def steps_of(dockerfile: str) -> list[tuple[str, str]]:
    """Instructions and their arguments, continued lines put together."""
    lines = "\n".join(line for line in dockerfile.splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n", " ", lines)
    return [
        (word, rest) for word, _, rest in (s.partition(" ") for s in joined.split("\n")) if word
    ]


class Stage:
    """A stage of the build: its folder, and what the steps so far have set."""

    def __init__(self, root: Path, base: Path, image: str) -> None:
        self.root, self.user, self.folder, self.said = root, "root", "/", dict[str, str]()
        self.environment = {k: v for k, v in os.environ.items() if PASSED.match(k)}
        self.environment |= dict.fromkeys(TRUST, "/etc/ca-of-this-machine")
        self.environment |= {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/tmp"}
        subprocess.run(["cp", "-a", "--reflink=auto", base, root], check=True)
        for path in ("etc/resolv.conf", "etc/hosts", "etc/pip.conf"):
            if Path("/", path).exists():
                shutil.copy(Path("/", path), root / path)
        shutil.copy(CERTIFICATES, root / "etc/ca-of-this-machine")
        for path in ("proc", "dev"):
            subprocess.run(["mount", "--rbind", f"/{path}", root / path], check=True)
        if image.startswith("rust:"):
            rust = subprocess.check_output(["rustc", "--print", "sysroot"], text=True).strip()
            subprocess.run(["cp", "-a", f"{rust}/.", root / "usr/local"], check=True)
        elif image.startswith("python:"):
            self.run(PYTHON)

    def command(self, *words: str, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Starts a command as the stage's user, in its folder."""
        who = (CHROOT, f"--userspec={self.user}", str(self.root))
        line = f"cd {shlex.quote(self.folder)} && exec {shlex.join(words)}"
        return subprocess.Popen([*who, "/bin/sh", "-c", line], env={**environment})

    def run(self, line: str) -> None:
        """A RUN step."""
        if status := self.command("/bin/sh", "-c", line, environment=self.environment).wait():
            sys.exit(f"status {status}: RUN {line}")

    def copy(self, arguments: str, context: Path, stages: Mapping[str, "Stage"]) -> None:
        """A COPY step."""
        words = shlex.split(arguments)
        if words[0].startswith("--from="):
            context = stages[words.pop(0).partition("=")[2]].root
        *sources, target = words
        into = self.root / os.path.join(self.folder, target).lstrip("/")
        for source in (context / name.lstrip("/") for name in sources):
            many = source.is_dir() or target.endswith("/")
            (into if many else into.parent).mkdir(parents=True, exist_ok=True)
            inside = f"{source}/." if source.is_dir() else str(source)
            subprocess.run(["cp", "-a", inside, into], check=True)


def build(context: Path, work: Path) -> Stage:
    """The last stage."""
    base = work / "base"
    subprocess.run(["debootstrap", "--variant=minbase", "bookworm", base], check=True)
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for word, rest in steps_of((ROOT / "deploy/docker/Dockerfile").read_text()):
        print(f"--- {word} {rest}", flush=True)
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            stage = stages[name] = Stage(work / name, base, image)
            continue
        assert stage, "the first step is FROM"
        match word:
            case "RUN":
                stage.run(rest)
            case "COPY":
                stage.copy(rest, context, stages)
            case "ENV":
                stage.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
            case "USER":
                stage.user = rest
            case "WORKDIR":
                stage.folder = rest
                (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case _:
                stage.said[word] = rest
    assert stage, "there is no step"
    return stage


def try_it(stage: Stage, work: Path) -> None:
    """Starts the image's command, waits until it is healthy, and sends a mail to a sink."""
    mail = work / "mail"
    listen = ("--listen", "127.0.0.1:2525", "--dir", str(mail))
    sink = subprocess.Popen([sys.executable, "-m", "tests.support.mail_sink", *listen], cwd=ROOT)
    routes = {"SEALWAX_SMTP_ROUTES": "example.test=127.0.0.1:2525"}
    environment = {k: v for k, v in stage.environment.items() if not PASSED.match(k)} | routes
    entry = json.loads(stage.said["ENTRYPOINT"])
    check = json.loads(stage.said["HEALTHCHECK"].partition(" CMD ")[2])

    def run(*words: str) -> bool:
        return stage.command(*words, environment=environment).wait(60) == 0

    try:
        up = stage.command(*entry, *json.loads(stage.said["CMD"]), environment=environment)
        wait(lambda: up.poll() is not None or run(*check), "the health check to pass")
        assert up.poll() is None, "it ended"
        assert run(*entry, "domains", "add", "acme.test", "--trusted")
        words = ("--from", "hello@acme.test", "--to", "ada@example.test", "--subject", "Hi")
        assert run(*entry, "send", *words, "--text", "Hello")
        wait((mail / "index.jsonl").exists, "the mail to arrive")
        assert run(*entry, "stats"), "analytics does not answer"
        assert not run("sh", "-c", "command -v cc || command -v cargo"), "there is a compiler"
        up.send_signal(signal.SIGTERM)
        assert up.wait(90) == 0, "it was asked to stop and failed"
    finally:
        sink.terminate()
        sink.wait()


def wait(condition: Callable[[], bool], what: str) -> None:
    """Looks each second for two minutes."""
    for _ in range(120):
        if condition():
            return
        time.sleep(1)
    sys.exit(f"waited in vain for {what}")


def main() -> None:
    """Builds and tries, below a folder that goes with the end."""
    if os.environ.get("SEALWAX_TEST_IN_NAMESPACES") is None:
        os.environ["SEALWAX_TEST_IN_NAMESPACES"] = "1"
        os.execvp(IN_NAMESPACES[0], [*IN_NAMESPACES, sys.executable, *sys.argv])
    began = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="sealwax-image-"))
    try:
        (context := work / "context").mkdir()
        files = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT)
        tar = subprocess.run(["tar", "--null", "-cT", "-"], input=files, cwd=ROOT, check=True,
                             stdout=subprocess.PIPE)  # fmt: skip
        subprocess.run(["tar", "-x"], input=tar.stdout, cwd=context, check=True)
        stage = build(context, work)
        try_it(stage, work)
        size = subprocess.check_output(["du", "-smx", stage.root], text=True).split()[0]
        print(f"The image works. It has {size} MB; {time.monotonic() - began:.0f} s.")
    finally:
        for mounted in filter(os.path.ismount, work.glob("*/*")):
            subprocess.run(["umount", "--recursive", "--lazy", mounted], check=True)
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
