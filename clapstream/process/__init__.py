"""The operating system's side of a process that runs for years: threads, memory, exit, systemd, terminal."""
