"""Layouts of a stream from its stored meta, for both brokers."""

from __future__ import annotations

from runnel_trio._broker._values import Layouts, StreamSpec
from runnel_trio._rules._layout import Meta, disagreement
from runnel_trio.exceptions import Misconfigured

__all__ = ["checked", "layouts_of", "lost", "meta_like", "new_numbers"]


def lost(app: str, stream: str) -> Misconfigured:
    """What to say of a stream whose count of partitions the server does not know any more."""
    return Misconfigured(
        f"the server has lost how many partitions stream {stream!r} of app {app!r} has, as a failover may "
        "let it: a worker that is running, or one that starts, tells it again. Where the stream has been "
        f"repartitioned, and none is running, write it: HSET runnel:{{{app}}}:{stream}:meta "
        "partition_count N, with the N that it had"
    )


def layouts_of(meta: Meta, stream: StreamSpec) -> Layouts:
    """The layouts that are known of a stream.

    Raises:
        Misconfigured: how many partitions there are is lost, and was not told again.
    """
    if not meta.partition_count:
        raise lost(stream.app, stream.name)
    current = stream.laid_out(meta.layout, meta.partition_count)
    return Layouts(current, meta.draining and stream.laid_out(*meta.draining), meta.former)


def meta_like(stream: StreamSpec) -> Meta:
    """What somebody knows of a stream who declares it."""
    return Meta(stream.partition_count, stream.record, stream.hasher, stream.layout)


def new_numbers(layouts: Layouts) -> range:
    """The numbers of all partitions, old and new."""
    return range(max(x.partition_count for x in layouts.all))


def checked(stream: StreamSpec, meta: Meta) -> Meta:
    """What is known, if the declaration agrees with it.

    Raises:
        Misconfigured: it does not.
    """
    layouts_of(meta, stream)
    # Who speaks of a later layout has its count from the server.
    count = stream.partition_count if stream.layout == 1 else meta.partition_count
    found = disagreement(meta, count, stream.record, stream.hasher)
    if found is None:
        return meta
    what, holds, said = found
    where = f"stream {stream.name!r} of app {stream.app!r}"
    if what == "partition_count":
        advice = (
            f"Keep {holds}; or change it on the server first, while everything runs: `runnel-trio stream "
            f"repartition MODULE:{stream.name} --to {said}`, with {holds} in the code"
        )
    else:
        advice = f"Keep {holds}, or send to a stream of another name and drain this one first"
    raise Misconfigured(
        f"{where} was declared with {what}={holds}, and is now declared with {said}: keys would change their "
        f"partition or their meaning. {advice}."
    )
