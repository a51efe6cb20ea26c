"""The client side of RFC 5321."""
