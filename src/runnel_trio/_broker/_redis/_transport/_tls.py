"""The files of TLS: what is wrong with them.

redis-py reads them whenever it connects, and tells of one that it cannot read as of a server that is away.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Any

__all__ = ["fault"]

#: Options that name a file.
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
#: The one that names a directory.
_DIRECTORY = "ssl_ca_path"


def fault(settings: Mapping[str, Any]) -> str:
    """What is wrong with the files that a connection's settings name; empty where nothing is. It blocks.

    Example:
        >>> fault({"ssl_ca_certs": "/nowhere/ca.pem"})
        "ssl_ca_certs='/nowhere/ca.pem' cannot be read: No such file or directory"
    """
    for name in (*_FILES, _DIRECTORY):
        if settings.get(name) is None:
            continue
        try:
            path = os.fspath(settings[name])  # no number: that would be a file of ours, and be closed
            with os.scandir(path) if name == _DIRECTORY else open(path, "rb"):
                pass
        except OSError as error:
            return f"{name}={settings[name]!r} cannot be read: {error.strerror}"
        except (TypeError, ValueError):
            return f"{name}={settings[name]!r} is no path"
    return _fault_of_authorities(settings) or _fault_of_chain(settings)


def _fault_of_authorities(settings: Mapping[str, Any]) -> str:
    given = {"ssl_ca_certs": "cafile", "ssl_ca_data": "cadata"}
    for name, argument in given.items():
        if settings.get(name) is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            try:
                context.load_verify_locations(**{argument: settings[name]})
            except (OSError, TypeError, ValueError):
                shown = f"={settings[name]!r}" if argument == "cafile" else ""
                return f"{name}{shown} has no certificate in PEM: it begins with -----BEGIN CERTIFICATE-----"
    return ""


def _fault_of_chain(settings: Mapping[str, Any]) -> str:
    certificate, key = settings.get("ssl_certfile"), settings.get("ssl_keyfile")
    if certificate is None:
        return "ssl_keyfile stands alone: ssl_certfile is missing" if key is not None else ""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:  # without any password, OpenSSL would ask for it at the terminal
        context.load_cert_chain(certificate, key, settings.get("ssl_password") or "")
    except (OSError, TypeError, ValueError) as error:
        which = f"ssl_certfile={certificate!r}" + (f" and ssl_keyfile={key!r}" if key else "")
        reason = getattr(error, "reason", None) or error
        return (
            f"{which} cannot be used ({reason}): a certificate and its key are wanted, both in PEM, with "
            "ssl_password where the key has one"
        )
    return ""
