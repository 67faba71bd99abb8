"""How the documentation is built: ``sphinx-build -W -b html docs docs/_build/html``."""

from __future__ import annotations

from importlib.metadata import version as installed

project = "runnel-trio"
project_copyright = "the runnel-trio authors"
release = installed("runnel-trio")
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"runnel-trio {release}"
html_static_path = ["_static"]
html_css_files = ["book.css"]

# Names in single backquotes are Python names or parts of a signature; not each is a page to link to.
default_role = "code"
# References to our own public names must lead somewhere; others are made of annotations by autodoc.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!runnel_trio\.[A-Za-z]).*")]
# `nox -s links` asks the net; what is shown as an example is nowhere.
linkcheck_ignore = [r"https?://(localhost|127\.0\.0\.1|10\.).*"]
linkcheck_timeout = 20

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_custom_sections = [("Cancellation", "notes_style")]
napoleon_use_ivar = True
