"""How the documentation is built: ``sphinx-build -W -b html docs docs/_build/html``."""

from __future__ import annotations

import re
from importlib.metadata import version as installed
from typing import Any

import attrs

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
nitpick_ignore_regex = [(r"py:.*", r"(?!runnel_trio\.[A-Za-z]).*|.*\._.*")]
# `nox -s links` asks the net; what is shown as an example is nowhere.
linkcheck_ignore = [r"https?://(localhost|127\.0\.0\.1|10\.).*"]
linkcheck_timeout = 20

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
# A parameter a line where one line is too long to read.
maximum_signature_line_length = 100
napoleon_custom_sections = [("Cancellation", "notes_style")]
napoleon_use_ivar = True

#: They come out of the library; what it makes them of is its own business.
MADE_BY_US = {"Stream", "Processor", "Worker", "Events", "Event", "Quarantined", "Trial"}
#: What autodoc finds where attrs writes an ``__init__``: the code of the default, and the mark of a factory.
_GENERATED = re.compile(r"attr_dict\['(\w+)'\]\.default|\bNOTHING\b")


def readable(kind: str, thing: Any, signature: str | None) -> str | None:
    """The signature of a class of attrs with the values of its defaults.

    Example:
        >>> from runnel_trio import Gzip
        >>> readable("class", Gzip, "(level: int = attr_dict['level'].default)")
        '(level: int = 6)'
    """
    if kind not in {"class", "exception"} or not signature:
        return signature
    if thing.__name__ in MADE_BY_US:
        return ""
    return _GENERATED.sub(lambda found: _written(thing, found[1]), signature)


def _written(owner: Any, name: str | None) -> str:
    if name is None:
        return "…"
    value = attrs.fields_dict(owner)[name].default
    if isinstance(value, tuple) and all(isinstance(x, type) for x in value):
        return f"({', '.join(x.__name__ for x in value)}{',' * (len(value) == 1)})" if value else "()"
    return repr(value)


def _signed(_: Any, kind: str, name: str, thing: Any, __: Any, signature: str | None, end: str | None) -> Any:
    said = readable(kind, thing, signature)
    if said and "attr_dict" in said:
        from sphinx.util import logging  # the tests read this file without Sphinx

        logging.getLogger(__name__).warning("the signature of %s cannot be read: %s", name, said)
    return said, end


def setup(app: Any) -> None:
    """For Sphinx."""
    app.connect("autodoc-process-signature", _signed)
