"""Writes the generated files of deploy/ again."""

from tests.deploy.image_locks import locks
from tests.deploy.monitoring_files import files

for path, text in {**locks(), **files()}.items():
    path.write_text(text, encoding="utf-8")
