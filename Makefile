# Two commands on a fresh machine: `make demo` and `make test`. Both set up what they need in .venv; neither needs a GPU, nvcc,
# a model hub or root. A C++20 compiler and Python 3.10 or newer must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml $(shell find kernels -name '*.cc' -o -name '*.cu' -o -name '*.h' -o -name 'CMakeLists.txt' -o -name '*.cmake')
# Where nvcc is found, the CUDA half is compiled for the GPU of this machine, or without one for H100 and H200.
export INGOT_CUDA_ARCHITECTURES ?= $(if $(shell nvidia-smi -L 2>/dev/null | grep GPU),native,90a-real)
DEMO := engines/tiny-llama-fp8

.PHONY: demo test lint simulate sanitize fuzz clean

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
	$(BIN)/python -m pip install --quiet --constraint constraints.txt 'ingot[test]'
	@touch $@

# What the sanitized tests run on and the fuzz targets begin with: small engines, built anew, and pieces of them.
SEEDED := engines=$$($(BIN)/python tests/small_engines.py build/small-engines) && \
  $(BIN)/python tests/fuzz_corpus.py build/small-engines build/corpus && export INGOT_TEST_ENGINES=$$engines

# 100,000 schedules of the simulation; `make simulate SCHEDULES=5000 SEED=100` runs others.
SCHEDULES ?= 100000
SEED ?= 0
simulate: $(VENV)/tests
	export PATH=$(CURDIR)/$(BIN):$$PATH && cmake -S kernels -B build/tests -DINGOT_TESTS=ON -G Ninja && \
	  cmake --build build/tests --target simulation && build/tests/simulation $(SEED) $(SCHEDULES)

# The C++ tests, the simulation, small engines under many threads and the fuzz targets under AddressSanitizer with UBSan, then under
# ThreadSanitizer.
sanitize: $(VENV)/tests
	$(SEEDED) && export PATH=$(CURDIR)/$(BIN):$$PATH && for kind in address,undefined thread; do \
	  folder=build/sanitize-$${kind%%,*} && \
	  cmake -S kernels -B $$folder -DINGOT_TESTS=ON -DINGOT_SANITIZE=$$kind -DINGOT_CORPUS=$(CURDIR)/build/corpus \
	    -DCMAKE_BUILD_TYPE=RelWithDebInfo && \
	  cmake --build $$folder -j2 && ctest --test-dir $$folder --output-on-failure --timeout 900 || exit 1; done

# The readers of files and messages under libFuzzer, each for SECONDS. What it finds is kept in build/found; an input that fails is
# written to build/fuzz. Run it again with build/fuzz/NAME INPUT, and keep it under tests/fuzz/regressions/NAME.
SECONDS ?= 60
FUZZ_TARGETS := $(basename $(notdir $(wildcard tests/fuzz/fuzz_*.cc)))
DICTIONARY_OF = $(if $(filter fuzz_json fuzz_manifest fuzz_safetensors,$(1)),json,plan).dict
fuzz: $(VENV)/tests
	@echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return !d && n; }' | \
	  clang -x c -fsanitize=fuzzer,address,undefined - -o /dev/null 2>/dev/null || { \
	  echo "make fuzz needs clang with its sanitizers and libFuzzer; on Debian: apt-get install clang libclang-rt-14-dev"; exit 1; }
	$(SEEDED) && export PATH=$(CURDIR)/$(BIN):$$PATH && \
	  CXX=clang++ cmake -S kernels -B build/fuzz -DINGOT_FUZZ=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo && cmake --build build/fuzz -j2
	$(foreach target,$(FUZZ_TARGETS),mkdir -p build/found/$(target) && cd build/fuzz && \
	  ./$(target) -max_total_time=$(SECONDS) -timeout=10 -print_final_stats=1 -dict=../../tests/fuzz/$(call DICTIONARY_OF,$(target)) \
	    ../found/$(target) ../corpus/$(target) $(addprefix ../../,$(wildcard tests/fuzz/regressions/$(target))) && cd ../.. &&) true

clean:
	rm -rf $(VENV) build engines
