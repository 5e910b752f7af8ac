"""How the bundled checkpoint is made: see README.md in this folder."""
