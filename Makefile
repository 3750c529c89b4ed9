# Two commands on a fresh machine: `make demo` and `make test`. Both set up what they need in .venv; neither needs a GPU, nvcc,
# a model hub or root. A C++20 compiler and Python 3.10 or newer must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml $(shell find kernels -name '*.cc' -o -name '*.h' -o -name 'CMakeLists.txt')
DEMO := engines/tiny-llama-fp8

.PHONY: demo test lint sanitize clean

demo: $(VENV)/installed
	$(BIN)/python -m core.build model=llama2 quant=fp8 checkpoint=models/tiny-llama out=$(DEMO)
	$(BIN)/python -m core.run engine=$(DEMO) prompt='def read_file(path):'

test: $(VENV)/tests
	$(BIN)/python -m pytest

lint: $(VENV)/tests
	$(BIN)/ruff check core plugins tests && $(BIN)/ruff format --check core plugins tests

$(VENV)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found; install Python 3.10 or newer, or say make PYTHON=…"; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || { echo "no C++ compiler was found; install g++ 11 or clang 14 or newer"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Editable: Python is read from this tree; the compiled library is rebuilt when a C++ source changes.
$(VENV)/installed: $(VENV)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/tests: $(VENV)/installed constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

# The C++ tests and the simulation under AddressSanitizer with UBSan, then under ThreadSanitizer.
sanitize:
	for kind in address,undefined thread; do \
	  cmake -S kernels -B build/sanitize-$${kind%%,*} -DINGOT_TESTS=ON -DINGOT_SANITIZE=$$kind -DCMAKE_BUILD_TYPE=RelWithDebInfo && \
	  cmake --build build/sanitize-$${kind%%,*} -j2 && ctest --test-dir build/sanitize-$${kind%%,*} --output-on-failure || exit 1; done

clean:
	rm -rf $(VENV) build engines
