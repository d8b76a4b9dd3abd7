"""Validates manifests and compose files for `cargo xtask k8s-check`.

It validates against Kubernetes' schemas, CustomResourceDefinitions and the schema of compose files. A key that appears
twice is a mistake.

Takes a JSON object as its argument: `kubernetes` (version), `crds` (files), `manifests` and `compose` (files),
`compose_schema`. Prints a JSON object: for each file its documents and its problems.
"""

import json
import sys

import jsonschema
import kubernetes_validate
import yaml


class Loader(yaml.SafeLoader):
    """Refuses keys that appear twice: YAML silently takes the last."""

    def construct_mapping(self, node, deep=False):
        keys = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        names = [self.construct_object(key, deep=True) for key in keys]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {name!r} appears twice", node.start_mark)
        return super().construct_mapping(node, deep)


def documents(path):
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.load_all(file, Loader) if document is not None]


def closed(schema):
    """The schema without unknown fields: a server drops them silently."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: closed(part) for name, part in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    return schema


def custom_resources(paths):
    found = {}
    for path in paths:
        for definition in documents(path):
            spec = definition["spec"]
            for version in spec["versions"]:
                schema = dict(version["schema"]["openAPIV3Schema"])
                # Definitions leave out what all objects have.
                schema["properties"] = {
                    **{name: closed(part) for name, part in schema["properties"].items()},
                    "metadata": {"type": "object"},
                }
                schema["additionalProperties"] = False
                name = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                found[name] = jsonschema.Draft4Validator(schema)
    return found


def line_of(error):
    place = "/".join(str(part) for part in error.absolute_path) or "the document"
    return f"{place}: {error.message[:300]}"


def problem_of(document, version, definitions):
    definition = definitions.get((document.get("apiVersion"), document.get("kind")))
    try:
        if definition is not None:
            error = jsonschema.exceptions.best_match(definition.iter_errors(document))
            return line_of(error) if error else None
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        place = "/".join(str(part) for part in error.path) or "the document"
        return f"{place}: {error.message[:300]}"
    except kubernetes_validate.SchemaNotFoundError:
        return "there is no schema or definition for it"
    return None


def manifest(path, version, definitions):
    found = documents(path)
    problems = []
    for document in found:
        problem = problem_of(document, version, definitions)
        if problem:
            name = (document.get("metadata") or {}).get("name")
            problems.append(f"{document.get('kind')}/{name}: {problem}")
    return {"documents": found, "problems": problems}


def compose(path, schema_path):
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    validator = jsonschema.validators.validator_for(schema)(schema)
    found = documents(path)
    problems = [line_of(error) for document in found for error in validator.iter_errors(document)]
    return {"documents": found, "problems": problems}


def guarded(check, *arguments):
    try:
        return check(*arguments)
    except yaml.YAMLError as error:
        return {"documents": [], "problems": [str(error)]}


def main():
    request = json.loads(sys.argv[1])
    definitions = custom_resources(request["crds"])
    answer = {
        path: guarded(manifest, path, request["kubernetes"], definitions) for path in request["manifests"]
    }
    answer |= {path: guarded(compose, path, request["compose_schema"]) for path in request["compose"]}
    json.dump(answer, sys.stdout)


main()
