# A thin front: each target runs `python3 commands <target>`, which also works where there is no make.
# A command's own arguments go into ARGS:  make lab ARGS="--no-browser --port 9999"
# Another Python, when .venv is made:      make lab PYTHON=python3.12

COMMANDS := lab lab-sweep test test-all student teacher assignment slides book drift lint notebooks bench reference-run batch-runs citeseq-runs scaling-runs sweep-runs out-of-core-runs process-runs cortex-text-runs classroom bad-inputs connections teaching sbom setup pins clean

# From the shell or from make, for commands/find-python.
export PYTHON

.PHONY: help $(COMMANDS)

help:
	@python=$$(sh commands/find-python) && exec "$$python" commands help

$(COMMANDS):
	@python=$$(sh commands/find-python) && exec "$$python" commands $@ $(ARGS)
