"""What a server can be asked, for programs (OpenAPI) and for people (a page of text)."""

from __future__ import annotations

import html
from typing import Any

from rayrml.serving.limits import Limits
from rayrml.version import __version__

_NUMBERS = {"type": "array", "description": "numbers, or lists of them, of one length on each axis", "items": {}}
_PREDICTION = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "description": "of the file or the array"},
        "error": {"type": "string", "description": "what is wrong with it; nothing else is predicted then"},
        "classes": {
            "type": "array",
            "description": "the most probable classes, best first",
            "items": {
                "type": "object",
                "properties": {"class": {"type": "string"}, "probability": {"type": "number"}},
            },
        },
        "labels": {"type": "array", "items": {"type": "string"}, "description": "the classes above the threshold"},
        "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
        "numbers": {"type": "object", "additionalProperties": {"type": "number"}},
        "boxes": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "class": {"type": "string"},
                    "score": {"type": "number"},
                    "box": {
                        "type": "array",
                        "description": "xmin, ymin, xmax, ymax in pixels",
                        "items": {"type": "number"},
                    },
                },
            },
        },
        "mask": {"type": "string", "description": "PNG in base64: each pixel's class number"},
        "pixels": {"type": "object", "additionalProperties": {"type": "integer"}, "description": "of each class"},
        "image": {"type": "string", "description": "PNG in base64"},
        "output": {**_NUMBERS, "description": "the outputs; always if nothing else is known of them"},
        "samples": {"type": "array", "items": {"type": "object"}, "description": "of a file that holds several"},
    },
}
_BINARY = {"type": "string", "format": "binary"}
_STATUSES = {
    "400": "a file cannot be read or does not suit the network; `predictions` has those of the others",
    "401": "the token is missing or wrong",
    "413": "the request is too large",
    "415": "the content type is not known",
    "503": "too many requests wait; send it again in a moment",
}


def describe_api(limits: Limits, *, secured: bool) -> dict[str, Any]:
    """The document of OpenAPI 3.1."""
    predictions = {
        "type": "object",
        "required": ["predictions"],
        "properties": {
            "error": {"type": "string"},
            "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}},
        },
    }
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    answer = {"application/json": {"schema": {"$ref": "#/components/schemas/Predictions"}}}
    post = {
        "summary": "Predict files or arrays",
        "description": f"At most {limits.max_bytes:,} bytes, {limits.max_files} files, and {limits.max_pixels:,} "
        "pixels of each image.",
        "parameters": [_OUTPUTS],
        "requestBody": {"required": True, "content": _list_bodies()},
        "responses": {
            "200": {"description": "the predictions, in the order of the files", "content": {**answer, **_PICTURE}},
            **{status: {"description": text, "content": _ERROR} for status, text in _STATUSES.items()},
        },
    }
    paths: dict[str, Any] = {
        "/predict": {"post": post},
        "/metadata": {"get": _get("The network's classes, input and versions", secured=secured)},
        "/healthz": {"get": _get("Whether a replica answers", secured=False)},
    }
    if secured:
        post["security"] = [{"token": []}]
    return {
        "openapi": "3.1.0",
        "info": {"title": "rayrml serve", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {"Prediction": _PREDICTION, "Predictions": predictions, "Error": error},
            **({"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if secured else {}),
        },
    }


_OUTPUTS = {
    "name": "outputs",
    "in": "query",
    "description": "whether the predictions have the outputs' numbers, too",
    "schema": {"type": "boolean", "default": False},
}
_PICTURE = {"image/png": {"schema": _BINARY}}
_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


def _list_bodies() -> dict[str, Any]:
    arrays = {"oneOf": [{"type": "array", "items": _NUMBERS}, {"type": "object", "additionalProperties": _NUMBERS}]}
    one = {"type": "object", "required": ["array"], "properties": {"array": _NUMBERS}}
    several = {"type": "object", "required": ["arrays"], "properties": {"arrays": arrays}}
    form = {"type": "object", "properties": {"file": {"type": "array", "items": _BINARY}}}
    return {
        "multipart/form-data": {"schema": form},
        "application/octet-stream": {"schema": _BINARY},
        "image/*": {"schema": _BINARY},
        "application/json": {"schema": {"oneOf": [one, several]}},
    }


def _get(summary: str, *, secured: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": summary, "responses": {"200": {"description": "JSON"}}}
    return {**found, "security": [{"token": []}]} if secured else found


_DOCS = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>rayrml serve: requests</title>
<meta name="viewport" content="width=device-width">
<h1>Requests</h1>
<p>The same for programs: <a href="openapi.json">openapi.json</a>. <a href="./">The page</a> predicts files that are
dropped on it.</p>
<h2>POST /predict</h2>
<p>At most {bytes} bytes, {files} files, and {pixels} pixels of each image. Where there is a token, requests have it in
a header: <code>Authorization: Bearer TOKEN</code>.</p>
<pre>{examples}</pre>
<p>With <code>?outputs=true</code>, predictions have the outputs' numbers, too. With <code>Accept: image/png</code>, the
answer to one file is its mask or image alone.</p>
<h3>A prediction</h3>
<table border="1" cellpadding="4"><tr><th>key<th>meaning</tr>{keys}</table>
<h3>Other answers</h3>
<table border="1" cellpadding="4"><tr><th>status<th>meaning</tr>{statuses}</table>
<h2>GET /metadata</h2><p>The network's classes, input and versions.</p>
<h2>GET /healthz</h2><p>Whether a replica answers.</p>
</html>
"""
_EXAMPLES = """curl -H "Authorization: Bearer $TOKEN" -F file=@a.jpg -F file=@b.jpg http://HOST/predict
curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/octet-stream" \\
     --data-binary @a.npy http://HOST/predict
curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
     -d '{"array": [[0.5, 1.0], [0.0, 0.25]]}' http://HOST/predict"""


def docs_page(limits: Limits) -> str:
    """The page for people."""
    keys = {
        name: schema.get("description") or ("; ".join(schema.get("items", {}).get("properties", {})) or "by name")
        for name, schema in _PREDICTION["properties"].items()
    }
    return _DOCS.format(
        bytes=f"{limits.max_bytes:,}",
        files=limits.max_files,
        pixels=f"{limits.max_pixels:,}",
        examples=html.escape(_EXAMPLES),
        keys=_rows(keys),
        statuses=_rows(_STATUSES),
    )


def _rows(cells: dict[str, str]) -> str:
    return "".join(f"<tr><td>{html.escape(name)}<td>{html.escape(text)}</tr>" for name, text in cells.items())
