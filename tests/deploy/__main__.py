"""Writes the generated files of deploy/ again."""

from tests.deploy.image_locks import locks

for path, text in locks().items():
    path.write_text(text, encoding="utf-8")
