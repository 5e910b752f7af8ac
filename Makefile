# For people who work on clapstream; users need only the README's two commands.
BIN := .venv/bin

.PHONY: check format test
check: .venv/installed-for-tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/installed-for-tests
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test:
	./tests/run

.venv/installed-for-tests: pyproject.toml constraints.txt
	./tests/run --install-only
