"""What several tests use: brokers, sound systems, cameras, processes, checkpoints and files."""
