"""Effects on when lines are delivered: late, in part, or not at the first request."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from hashlib import blake2b

from convergence_sandbox.providers.bills.kind import Context, EffectKind, EffectStage
from convergence_sandbox.providers.bills.line import BillLine
from convergence_sandbox.providers.bills.parameter import decimal_parameter, integer_parameter


def _delay_lines(lines: Sequence[BillLine], context: Context) -> list[BillLine]:
    day_end = datetime.combine(context.day, time(), UTC) + timedelta(days=1)
    delivered_at = day_end + timedelta(hours=int(context.number("hours")))
    if context.view.as_of >= delivered_at:
        return list(lines)
    return [line for line in lines if not context.touches(line)]


def _empty_bill(lines: Sequence[BillLine], context: Context) -> list[BillLine]:
    if context.view.read > context.number("reads"):
        return list(lines)
    return [line for line in lines if not context.touches(line)]


def _cut_bill(lines: Sequence[BillLine], context: Context) -> list[BillLine]:
    if context.view.read > context.number("reads"):
        return list(lines)
    touched = sorted(filter(context.touches, lines), key=_order_line)
    kept = {id(line) for line in touched[: int(len(touched) * context.number("share"))]}
    return [line for line in lines if id(line) in kept or not context.touches(line)]


def _order_line(line: BillLine) -> bytes:
    """Return a key that orders lines as if by chance, the same in every process."""
    text = repr((sorted(line.keys.items(), key=str), line.meter, line.row))
    return blake2b(text.encode(), digest_size=8).digest()


_READS = integer_parameter("reads", 1, low=1)

DELIVERY = (
    EffectKind(
        "late_lines",
        EffectStage.DELIVERY,
        "Lines that are not in the bill until `hours` after the end of the UTC day.",
        _delay_lines,
        (integer_parameter("hours", 30, low=0),),
    ),
    EffectKind(
        "partial_first_read",
        EffectStage.DELIVERY,
        "The first `reads` requests of a day's bill show `share` of its lines.",
        _cut_bill,
        (_READS, decimal_parameter("share", "0.5", low="0", high="1")),
        counts_reads=True,
    ),
    EffectKind(
        "empty_first_read",
        EffectStage.DELIVERY,
        "The first `reads` requests of a day's bill show none of its lines.",
        _empty_bill,
        (_READS,),
        counts_reads=True,
    ),
)
