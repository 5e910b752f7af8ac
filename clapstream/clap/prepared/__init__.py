"""What `prepare_for_inference()` puts in the place of plain modules: packed weights, joined products, fewer copies.

Everything outside this package is a plain torch model and works without it.
"""
