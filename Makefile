# The commands of a day's work; each one sets up first what it needs. `make help` lists them.

.PHONY: help setup test test-all check demo demo-live bench reliability docs dist clean
.DEFAULT_GOAL := help

PYTHON ?= python3
enter := . ./env.sh &&
SHELL := bash
with_ros := python -c 'import rclpy, mujoco' 2>/dev/null || \
	{ echo 'make: the demo needs ROS and the simulation: run `make setup ROS=jazzy EXTRAS=ros,train,eval,sim,dev`.' >&2; exit 2; };

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8
	@echo
	@echo 'Choices: ROS=jazzy|kilted|none (where no ROS 2 is sourced), EXTRAS=ros,train,eval,sim,dev, EXTRAS=all'

setup: ## install what is missing and build the interfaces; quick when nothing changed
	@command -v $(PYTHON) >/dev/null || { echo 'make: there is no $(PYTHON): install Python 3.11 or 3.12.' >&2; exit 2; }
	@$(PYTHON) tools/set_up.py

test: setup check ## set up, then ruff, mypy and the tests that are not slow (ARGS="-k locate" for some)
	@$(enter) pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

test-all: ## the same with all extras and all tests, also the slow ones
	@$(MAKE) --no-print-directory setup EXTRAS=all
	@$(MAKE) --no-print-directory check
	@$(enter) pytest -n 2 --dist loadfile $(ARGS)

check:
	@$(enter) command -v ruff >/dev/null || \
		{ echo 'make: tests need the extra dev: run `make setup EXTRAS=ros,train,eval,sim,dev`.' >&2; exit 2; }
	@$(enter) ruff check . && ruff format --check .
	@$(enter) mypy

demo: setup ## a simulated camera, the node, and what it answers: a table, and pictures in out/demo
	@$(enter) $(with_ros) python -m kosmos2_ros.apps.demo

demo-live: setup ## the same, running on until Ctrl-C, to be looked at
	@$(enter) $(with_ros) python -m kosmos2_ros.apps.demo --live

bench: setup ## the full-size model against the peer, in one run; writes docs/benchmarks.md
	@$(enter) python test/bench/core.py
	@$(enter) if python -c 'import rclpy' 2>/dev/null; then python test/bench/node.py; fi
	@$(enter) python test/bench/bag.py

reliability: setup ## the reliability scoreboard, with all examples; writes docs/reliability.md
	@$(enter) KOSMOS2_RELIABILITY=full pytest test/reliability

docs: build/tools/ready ## build the documentation site into out/site; fails at a broken link
	@NO_MKDOCS_2_WARNING=1 build/tools/bin/mkdocs build --strict && echo out/site/index.html

dist: build/tools/ready ## build the wheel and the source archive into dist/
	@rm -rf dist && build/tools/bin/python -m build --outdir dist .

# The extras `docs` and `dist` have an environment of their own: they need neither ROS nor torch.
build/tools/ready: setup.py constraints/common.txt
	@$(PYTHON) -m venv --clear build/tools
	@build/tools/bin/python -m pip install --quiet -c constraints/common.txt \
		$$($(PYTHON) -c 'import runpy; e = runpy.run_path("setup.py")["EXTRAS"]; print(*e["docs"], *e["dist"])')
	@touch $@

clean: ## remove all that set-up, builds and tests made, .venv too
	rm -rf .venv build install log out dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
