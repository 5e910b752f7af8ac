"""The model at work: windows of sound and label texts into embeddings.

An `engine` embeds windows (`torch_engine`, on a GPU with `cuda_graphs`, in the `precision` that suits the machine);
`worker` runs it on the model thread. `labels` makes label sets ready to score; `embedding_cache` keeps what was
embedded for a checkpoint, which `fingerprint` tells by its content.
"""
