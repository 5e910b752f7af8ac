.PHONY: check format test
check:
	ruff format --check .
	ruff check .
	mypy
format:
	ruff format .
	ruff check --fix .
test:
	pytest
