"""`python -m tests.pages` writes what is made from the code on the pages."""

from tests.conftest import ROOT
from tests.pages.generated import generated_pages

for path, text in generated_pages():
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        print(f"Wrote {path.relative_to(ROOT)}")
