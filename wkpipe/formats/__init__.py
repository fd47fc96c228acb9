"""Storage formats: one module each; `open_array` and `create_array` choose among them."""
