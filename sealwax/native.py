"""The Rust core, by the one name that the rest of the code imports it by."""

from typing import Any

from sealwax._core import (
    Draft,
    ItemError,
    Signer,
    compose,
    decode_deliveries,
    delivery_row,
    encode_deliveries,
    render,
    sign,
)

# Fields of sealwax.model.delivery.Delivery in order, with Position and Wait as plain tuples.
DeliveryFields = tuple[Any, ...]

__all__ = [
    "DeliveryFields",
    "Draft",
    "ItemError",
    "Signer",
    "compose",
    "decode_deliveries",
    "delivery_row",
    "encode_deliveries",
    "render",
    "sign",
]
