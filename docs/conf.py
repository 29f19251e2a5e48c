"""Sphinx, from a checkout, without a network: `sphinx-build -W --keep-going -b html docs /tmp/html`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]  # flambeau from this checkout, and the extension beside it

import flambeau  # noqa: E402

project = "flambeau"
author = copyright = "The flambeau developers"
version = release = flambeau.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton",
              "flambeau_reference", "from_pytorch", "sources", "support_pages"]  # fmt: skip
exclude_patterns = ["_build", "_ext"]
default_role = "code"

html_theme = "furo"
html_title = f"flambeau {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["flambeau.css"]

copybutton_selector = "div.highlight-python pre, div.highlight-console pre, div.highlight-none pre"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# Pages link to folders and files of the checkout, as on the repository's own site; those are no documents here.
# "ref.python": a class of each device is called Stream, and each has its entry.
suppress_warnings = ["config.cache", "ref.python"]

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
python_use_unqualified_type_names = True
