"""Writes several words in capitals and reports each one."""

import json
import pathlib
import sys

batch = json.loads(pathlib.Path(sys.argv[1]).read_text())
with open(batch["results"], "a") as results:
    for item in batch["items"]:
        word = pathlib.Path(item["parameters"]["word"]).read_text()
        pathlib.Path(item["output_dir"], "capitals.txt").write_text(word.upper())
        results.write(json.dumps({"key": item["key"], "status": "ok", "error": None}) + "\n")
