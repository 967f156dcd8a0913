"""Golden vectors of the released code: a small copy here, the whole corpus where it lies beside the checkout."""
