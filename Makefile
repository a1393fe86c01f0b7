# Two commands for a new machine: `make demo` and `make test`. Both set everything up first.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
CODE := ops evaluation pipeline ganfit jobs tests benchmarks scripts

.PHONY: setup demo test lint format bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt scripts/check_system.sh scripts/bundle_libusb.sh scripts/warm_caches.py
	scripts/check_system.sh "$(PYTHON)"
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	scripts/bundle_libusb.sh $(BIN)/python
	$(BIN)/python -c "import open3d, torch, ray, insightface, face_alignment"
	$(BIN)/python -m scripts.warm_caches
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m jobs.demo $(DEMO)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadgroup $(TESTS)

lint: $(STAMP)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: $(STAMP)
	for bench in benchmarks/bench_*.py; do OMP_NUM_THREADS=1 $(BIN)/python -m "benchmarks.$$(basename $$bench .py)" || exit 1; done

clean:
	rm -rf $(VENV) build *.egg-info
