"""Zero-shot accuracy of a checkpoint on a list of labelled files: what `clapstream eval` does."""
