"""The published contract: one JSON Schema for each message, generated from the models and compared in `make check`.

Published schemas are closed (a producer may send no unknown field) while our own readers ignore unknown fields, so that a
new optional field breaks neither old readers nor the compatibility rules of schema registries.
"""

from pathlib import Path
from typing import Any

import orjson

from schemas.codec import MESSAGES
from schemas.envelope import Message

FOLDER = Path("schemas") / "published"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def documents() -> dict[str, bytes]:
    """File name to the bytes of its schema, for every message."""
    return {f"{model.ce_type()}.json": _document(model) for model in MESSAGES.values()}


def write(root: Path) -> list[Path]:
    """Write all schemas below `root`, remove those of messages that no longer exist, and return what changed."""
    folder, changed = root / FOLDER, []
    folder.mkdir(parents=True, exist_ok=True)
    wanted = documents()
    for path in sorted(folder.glob("*.json")):
        if path.name not in wanted:
            path.unlink()
            changed.append(path)
    for name, content in wanted.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
            changed.append(path)
    return changed


def differences(root: Path) -> list[str]:
    """One sentence for each published file that is not what the models say."""
    folder, wanted = root / FOLDER, documents()
    found = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    return [
        f"{FOLDER / name}: {'missing' if name not in found else 'stale' if name in wanted else 'no such message'}; "
        "run `trimtab contracts write`"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]


def _document(model: type[Message]) -> bytes:
    schema = model.model_json_schema(mode="serialization")
    for part in (schema, *schema.get("$defs", {}).values()):
        if part.get("type") == "object" and "properties" in part:
            part["additionalProperties"] = False
    document: dict[str, Any] = {"$schema": DIALECT, "$id": f"urn:{model.ce_type()}"} | schema
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
