"""What replies mean: rules as data, and the pure decision by them."""
