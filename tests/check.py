"""What must hold for every file, without running the program: `python tests/check.py` (`make check`).

Every check runs even when an earlier one failed. `check.py lock` resolves the dependencies again instead.
"""

import ast
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"
# Resolving again is a choice, never part of a check: an index that moved on would fail a clean tree.
LOCKS = {
    "requirements.lock": (["pyproject.toml", "--group", "dev"], ("project", "dev")),
    "requirements-local.lock": (
        ["--no-deps", "--group", "uv", "--group", "java", "--group", "postgres"],
        ("uv", "java", "postgres"),
    ),
}
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 40
FOLDER_MODULES_MAX = 14
WORKERS = 2

Check = Sequence[str | Path] | Callable[[], list[str]]


def locks() -> list[str]:
    """Each lock pins, with hashes and without addresses, exactly what pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    problems = []
    for name, (_options, parts) in LOCKS.items():
        text = (ROOT / name).read_text()
        if found := re.search(r"https?://\S+|^--\S*index\S*", text, re.MULTILINE):
            problems.append(f"{name} names an address: {found[0]}")
        entries = re.split(r"\n(?=[a-zA-Z0-9])", text)
        problems += [f"{name}: {entry.split()[0]} has no hash" for entry in entries if "--hash=sha256:" not in entry]
        problems += [f"{name}: {problem}" for problem in _compare(entries, _wanted(project, parts))]
    return [*problems, "resolve again with `make lock`"] if problems else []


def _wanted(project: dict, parts: tuple[str, ...]) -> dict[str, Requirement]:
    lines = [
        line
        for part in parts
        for line in (project["project"]["dependencies"] if part == "project" else project["dependency-groups"][part])
    ]
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}


def _compare(entries: list[str], wanted: dict[str, Requirement]) -> Iterator[str]:
    pins = {}
    for entry in entries:
        name, version = entry.split(maxsplit=1)[0].split("==")
        pins[canonicalize_name(name)] = version
        if "trimtab (pyproject.toml" in entry and canonicalize_name(name) not in wanted:
            yield f"{name} is pinned for the project, and pyproject.toml does not ask for it"
    for name, requirement in wanted.items():
        if name not in pins:
            yield f"{requirement} is not pinned"
        elif not requirement.specifier.contains(pins[name]):
            yield f"{requirement} is pinned to {pins[name]}"


def sizes() -> list[str]:
    """Lists what is out of proportion; a list to think about, not a failure."""
    for folder in ("schemas", "streams", "bench", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            name, lines = path.relative_to(ROOT), text.count("\n")
            if lines > FILE_LINES_MAX:
                print(f"  {name}: {lines} lines")
            try:
                tree = ast.parse(text)
            except SyntaxError as error:
                print(f"  {name}:{error.lineno}: {error.msg}")  # the check of style fails for it
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    long = (node.end_lineno or node.lineno) - node.lineno + 1
                    if long > FUNCTION_LINES_MAX:
                        print(f"  {name}:{node.lineno}: {node.name} has {long} lines")
        for directory in sorted(path for path in (ROOT / folder).rglob("*") if path.is_dir()):
            modules = [path for path in directory.glob("*.py") if path.name != "__init__.py"]
            if len(modules) > FOLDER_MODULES_MAX:
                print(f"  {directory.relative_to(ROOT)}: {len(modules)} modules")
    return []


CHECKS: dict[str, Check] = {
    "style": [BIN / "ruff", "check", "."],
    "format": [BIN / "ruff", "format", "--check", "."],
    "types": [BIN / "basedpyright", "--warnings"],
    "layers": [BIN / "lint-imports", "--no-cache"],
    "published schemas": [BIN / "trimtab", "contracts", "check"],
    "generated pages": [BIN / "python", "tests/docs.py", "check"],
    "compose file": [
        BIN / "check-jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        ROOT / "docker-compose.kafka.yml",
    ],
    "locks": locks,
}


def run_check(check: Check) -> tuple[float, list[str]]:
    """Seconds it took and what is wrong, empty when it holds."""
    began = time.monotonic()
    if callable(check):
        problems = check()
    else:
        done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        problems = [] if done.returncode == 0 else [(done.stdout + done.stderr).strip() or f"status {done.returncode}"]
    return time.monotonic() - began, problems


def main(arguments: list[str]) -> int:
    """Run all checks. Returns the exit status."""
    if arguments == ["lock"]:
        return lock()
    failed = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        for name, (seconds, problems) in zip(CHECKS, pool.map(run_check, CHECKS.values()), strict=True):
            print(f"{'FAILED' if problems else 'ok':<7}{name:<20}{seconds:>5.1f} s", flush=True)
            failed += bool(problems)
            for problem in problems:
                print(problem)
    print("outside the usual proportions (no failure):")
    sizes()
    print(f"{len(CHECKS) - failed} checks hold, {failed} do not")
    return 1 if failed else 0


def lock() -> int:
    """Write both lock files anew, keeping every pin that still fits."""
    local = ROOT / ".local" / "uv" / "bin" / "uv"
    uv = str(local) if local.exists() else "uv"
    options = ["--quiet", "--universal", "--generate-hashes", "--no-header", "--no-emit-index-url"]
    for name, (sources, _parts) in LOCKS.items():
        command = [uv, "pip", "compile", *options, "--python-version", "3.11", *sources, "-o", name]
        subprocess.run(command, cwd=ROOT, check=True, env=dict(os.environ))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
