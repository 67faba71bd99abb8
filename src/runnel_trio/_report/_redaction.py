"""Shows users' input safely: URLs and options without passwords, foreign text in one line."""

from __future__ import annotations

import re

__all__ = ["HARMLESS", "legible", "redacted", "redacted_text"]

#: Options whose values may be seen. Of all others nobody knows, and a password's name may be misspelt.
HARMLESS = re.compile(
    r"(?:sentinel_)?(?:db|username|client_name|host|port|path|protocol|timeout|max_connections|retry_on_timeout"
    r"|health_check_interval|decode_responses|encoding|socket_(?:timeout|connect_timeout|keepalive|read_size)"
    r"|ssl|ssl_(?:ca_certs|ca_path|certfile|keyfile|check_hostname|cert_reqs|min_version|ciphers))"
)
#: What values of these may look like, with what may follow a URL in a sentence.
PLAIN = re.compile(r"[\w./~%:+*-]*[)\]}'\",.:;]*")
#: An option that was dealt with already, or none.
HIDDEN = re.compile(r"""(?:(?:[^\W\d]\w*=)?\*\*\*[)\]}'",.:;]*)?""")
#: Rather too much than too little: a password that should have been quoted may have any character.
BEFORE_HOST = re.compile(r"^((?:[\w+.-]*://)?(?:[^:@]*:)?).*(?=@)", re.DOTALL)
SCHEME = re.compile(r"[\w+.-]*://")
#: Options behind a host, as other kinds of clients have them: HOST:PORT,password=…
BESIDE_HOST = re.compile(r"([,;/#\s]\s*[^\s=,;/]*=).*", re.DOTALL)
#: A server's URL in the middle of a text.
WITHIN = re.compile(r"\b(?:redis|valkey|unix)[\w+.-]*://\S+", re.IGNORECASE)
#: A password in the middle of a line of somebody's source, or of an argument: password="…", "password": "…".
WRITTEN = re.compile(r"""(\w*passw\w*["']?\s*[:=]\s*[bfr]?)(["'])(?:\\.|(?!\2).)*\2""", re.IGNORECASE)


def redacted(url: object) -> str:
    """A URL, or what was given for one, without its password, and without what may be one.

    Example:
        >>> redacted("redis://me:secret@h:6379?db=1&pasword=secret"), redacted("h:6380,pwd=secret,ssl=True")
        ('redis://me:***@h:6379?db=1&pasword=***', 'h:6380,pwd=***')
    """
    place, mark, query = str(url).partition("?")
    options = query.split("&")
    if any("@" in option and not _may_have_at(option) for option in options):
        # A password with a question mark in it, or an option's value with an @: one cannot tell which.
        scheme = SCHEME.match(place)
        return f"{scheme[0] if scheme else ''}***"
    place = BESIDE_HOST.sub(r"\1***", BEFORE_HOST.sub(r"\1***", place))
    return place + mark + "&".join(map(_option, options))


def _may_have_at(option: str) -> bool:
    name = option.partition("=")[0]
    return name.isidentifier() and ("pass" in name.lower() or HARMLESS.fullmatch(name) is not None)


def _option(text: str) -> str:
    """One of a URL, as it may be shown."""
    name, given, value = text.partition("=")
    if HIDDEN.fullmatch(text) or (HARMLESS.fullmatch(name) and given and PLAIN.fullmatch(value)):
        return text
    return f"{name}=***" if given and name.isidentifier() else "***"


def redacted_text(text: str) -> str:
    """A text, without the passwords of servers' URLs in it, or of lines of source."""
    if "://" in text:
        text = WITHIN.sub(lambda found: redacted(found[0]), text)
    return WRITTEN.sub(r"\1\2***\2", text) if "passw" in text.lower() else text


def legible(text: str, limit: int = 10_000) -> str:
    """A text with parts that somebody else wrote, as it can stand in a log and on a terminal: in one line."""
    if not text.isprintable():
        text = "".join(
            x if x.isprintable() else x.encode("unicode_escape").decode() for x in text[: limit + 1]
        )
    return text if len(text) <= limit else text[:limit] + "..."
