"""The Rust core, by the one name that the rest of the code imports it by."""

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

__all__ = [
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
