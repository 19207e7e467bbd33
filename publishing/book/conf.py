"""What the book is made of, and how it looks: `make book` hands this to Sphinx."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # where the extension is looked for

_address = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]

project = "scVI, taken apart"
language = "en"
extensions = ["myst_nb", "sphinx-mathjax-offline", "publishing.book.book_pages"]

# The sources stay where they are, so that a link means the same here, on GitHub and in JupyterLab.
root_doc = "index"
include_patterns = [
    "index.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/**.md",
    "notebooks/[0-9]*.ipynb",
]
# What is hidden, and what learners add: pages that Lab kept a copy of, and copies of lessons.
exclude_patterns = [".*", "build", "data", "**/.*", "notebooks/*-*.ipynb"]

nb_execution_mode = "off"  # the stored outputs are what is shown
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 6

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["book.css"]
templates_path = ["templates"]
html_context = {"default_mode": "auto"}
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
html_use_index = False
# Excerpts are fetched from the pages, which a browser refuses where a page was opened from disk.
html_show_search_summary = False
html_theme_options = {
    "repository_url": _address["Repository"],
    "repository_branch": "HEAD",
    "launch_buttons": {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"},
    "use_download_button": False,
    "home_page_in_toc": True,
}
