"""Write the manifest for the Connector Builder, and for source-declarative-manifest: one file, which needs no other.

References are resolved and schemas inline, and the specification has only the options that stock parts honour.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml
from airbyte_cdk.sources.declarative.parsers.manifest_reference_resolver import ManifestReferenceResolver
from airbyte_cdk.sources.declarative.schema import JsonFileSchemaLoader

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "source_commonroom" / "manifest.yaml"
# `pii` isn't offered, and a configuration that has another mode than keep is refused rather than ignored: the requester
# of the manifest sees to that.
NOT_HONOURED = ("audit_history", "pii", "walk_from_both_ends")
# What stays of an option that stock parts honour in part.
IN_PART: dict[str, dict[str, Any]] = {
    "custom_field_columns": {
        "enum": ["id", "none"],
        "default": "id",
        "description": "Contacts, organizations and objects get a typed column for each custom field, named after its "
        "id (custom_cf_12). The column customFields holds them all in any case.",
    },
    "requests_per_second": {"type": "integer"},
    "segment_ids": {
        "description": "Only the contacts of these segments are read, those of several once for each; leave it empty "
        "to read all. The stream segments lists their ids. Other streams are read in full.",
    },
}


def main() -> None:
    """Write the file that the command names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the file to write")
    out: Path = parser.parse_args().out
    text = builder_manifest()
    out.write_text(text, encoding="utf-8")
    print(f"==> Wrote {out}: {len(text.splitlines())} lines")


def builder_manifest() -> str:
    """Return the manifest as one file, below the comment that ``manifest.yaml`` begins with."""
    text = MANIFEST.read_text(encoding="utf-8")
    header = text[: text.index("\nversion:") + 1]
    manifest: dict[str, Any] = ManifestReferenceResolver().preprocess_manifest(yaml.safe_load(text))
    del manifest["definitions"]
    manifest["streams"] = [_with_schemas_inline(row, row["$parameters"]["name"]) for row in manifest["streams"]]
    options = manifest["spec"]["connection_specification"]["properties"]
    for name in NOT_HONOURED:
        del options[name]
    for name, part in IN_PART.items():
        options[name].update(part)
    # Once through JSON, because the same object twice would be written as a YAML alias.
    content = json.loads(json.dumps(manifest))
    return header + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def _with_schemas_inline(node: Any, stream: str) -> Any:
    """Return a part of the manifest with each schema in the place of the file that holds it."""
    if isinstance(node, list):
        return [_with_schemas_inline(item, stream) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "JsonFileSchemaLoader":
        loader = JsonFileSchemaLoader(config={}, parameters={"name": stream}, file_path=node["file_path"])
        return {"type": "InlineSchemaLoader", "schema": loader.get_json_schema()}
    return {key: _with_schemas_inline(value, stream) for key, value in node.items()}


if __name__ == "__main__":
    main()
