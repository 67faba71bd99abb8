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

# Names in single backquotes are Python names or parts of a signature; not each is a page to link to.
default_role = "code"
# Every reference must lead somewhere, but for those that autodoc makes of annotations: of other libraries, of
# what is private, and of type variables.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(abc|attrs|cattrs|collections|contextlib|datetime|enum|os|trio|typing)\..*"),
    (
        r"py:.*",
        r"runnel_trio\._.*|R|_Task|Alone|AbstractAsyncContextManager|StreamSpec|TooSlowError|As send\.",
    ),
]
# `nox -s links` asks the net; what is shown as an example is nowhere.
linkcheck_ignore = [r"https?://(localhost|127\.0\.0\.1|10\.).*"]
linkcheck_timeout = 20

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_custom_sections = [("Cancellation", "notes_style")]
napoleon_use_ivar = True
