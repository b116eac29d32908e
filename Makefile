# The one front door. Everything below works on a fresh clone; set-up takes seconds when there is nothing to do.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test quick check bench crash crash-parts simulate clean lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Your own servers: KAFKA=host:port DATABASE_URL=postgresql://... make demo"

setup: ## Python environment, Java, Kafka, PostgreSQL: what this machine lacks, in the clone
	@$(PYTHON) streams/local/install.py

demo: setup ## the whole flow on this machine; FOR=120 ends it after 120 s, START and SPEED choose the tape
	@$(BIN)/trimtab demo $(if $(FOR),--for $(FOR)) $(if $(START),--start $(START)) $(if $(SPEED),--speed $(SPEED))

test: ## set-up, checks and every suite, with minutes and counts
	@$(PYTHON) tests/run.py

quick: setup ## style, units and properties: no server, below two minutes
	@$(BIN)/python tests/run.py quick

check: setup ## style, types, layers, generated files, compose file, locks
	@$(BIN)/python tests/check.py

bench: setup ## the measurements, each beside its baseline; VERIFY=10000000: only that one, so many messages
	@$(BIN)/python -m bench $(if $(VERIFY),verify)

crash: setup ## the whole stack under load, struck ROUNDS times (20) as SEED draws; the report goes to docs/evidence
	@ROUNDS=$(or $(ROUNDS),20) SEED=$(SEED) $(BIN)/python tests/run.py rounds

crash-parts: setup ## the long forms of the other kill tests, part by part; PAUSES=400 stops executors that often
	@PAUSES=$(PAUSES) $(BIN)/python tests/run.py parts

simulate: setup ## the order path in virtual time: ORDERS and SEED; REPORT=1 writes docs/evidence
	@$(BIN)/python -m streams.lab.simulate --progress --orders $(or $(ORDERS),1000000) --seed $(or $(SEED),1) $(if $(REPORT),--report)

clean: ## remove the environment, what was fetched, and the servers' data
	@$(PYTHON) streams/local/install.py clean

lock: setup ## resolve the dependencies again (needs a package index)
	@$(BIN)/python tests/check.py lock
