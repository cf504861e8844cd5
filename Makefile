# Common commands; each one first sets up what it needs. `make help` lists them.

.PHONY: help setup test test-all check demo demo-live bench reliability soak docs dist clean
.DEFAULT_GOAL := help

PYTHON ?= python3
enter := . ./env.sh &&
SHELL := bash
with_ros := python -c 'import rclpy, mujoco' 2>/dev/null || \
	{ echo 'make: the demo needs ROS and the simulation: run `make setup ROS=jazzy EXTRAS=ros,train,eval,sim,dev`.' >&2; exit 2; };

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14
	@echo
	@echo 'Choices: ROS=jazzy|kilted|none (where no ROS 2 is sourced), EXTRAS=ros,train,eval,sim,dev, EXTRAS=all'

setup: ## install missing packages and build the interfaces; fast if nothing changed
	@command -v $(PYTHON) >/dev/null || { echo 'make: there is no $(PYTHON): install Python 3.11 or 3.12.' >&2; exit 2; }
	@$(PYTHON) tools/set_up.py

test: setup check ## set up, then run ruff, mypy and the tests that are not slow (ARGS="-k locate" selects tests)
	@$(enter) pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

test-all: ## the same with all extras and all tests, including the slow ones
	@$(MAKE) --no-print-directory setup EXTRAS=all
	@$(MAKE) --no-print-directory check
	@$(enter) pytest -n 2 --dist loadfile $(ARGS)

check:
	@$(enter) command -v ruff >/dev/null || \
		{ echo 'make: tests need the extra dev: run `make setup EXTRAS=ros,train,eval,sim,dev`.' >&2; exit 2; }
	@$(enter) ruff check . && ruff format --check .
	@$(enter) mypy

demo: setup ## run a simulated camera and the node, print what was found, write pictures to out/demo
	@$(enter) $(with_ros) python -m kosmos2_ros.apps.demo

demo-live: setup ## run the same until Ctrl-C, to view it in RViz or Foxglove
	@$(enter) $(with_ros) python -m kosmos2_ros.apps.demo --live

bench: setup ## compare the full-size model with other runtimes; writes docs/benchmarks.md (ARGS="--rounds 1" is faster)
	@$(enter) python test/bench/core.py $(ARGS)
	@$(enter) if python -c 'import rclpy' 2>/dev/null; then python test/bench/node.py; fi
	@$(enter) python test/bench/bag.py

reliability: setup ## run the reliability tests in full; writes docs/reliability.md
	@$(enter) KOSMOS2_RELIABILITY=full pytest --timeout 1800 test/reliability

soak: setup ## run the reliability tests that take long (about 90 minutes); writes docs/reliability.md (ARGS="-k day" selects one)
	@$(enter) KOSMOS2_RELIABILITY=soak pytest test/reliability $(ARGS)

docs: build/tools/ready ## build the documentation site into out/site; fails at warnings, such as a broken link
	@NO_MKDOCS_2_WARNING=1 build/tools/bin/mkdocs build --strict && echo out/site/index.html

dist: build/tools/ready ## build the wheel and the source archive into dist/
	@rm -rf dist && build/tools/bin/python -m build --outdir dist .

# The extras `docs` and `dist` have an environment of their own: they need neither ROS nor torch.
build/tools/ready: setup.py constraints/common.txt
	@$(PYTHON) -m venv --clear build/tools
	@build/tools/bin/python -m pip install --quiet -c constraints/common.txt \
		$$($(PYTHON) -c 'import runpy; e = runpy.run_path("setup.py")["EXTRAS"]; print(*e["docs"], *e["dist"])')
	@touch $@

clean: ## remove everything that set-up, builds and tests created, including .venv
	rm -rf .venv build install log out dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
