# A thin front: `make GOAL` runs `python3 commands GOAL`, which also works where there is no make.
# commands/command_line.py says which goals there are; `make` alone shows them.
# A command's own arguments go into ARGS:  make lab ARGS="--no-browser --port 9999"
# Another Python, when .venv is made:      make lab PYTHON=python3.12

# From the shell or from make, for commands/find-python.
export PYTHON

.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# Every goal, also where a file or folder has its name, such as build or docs.
%: FORCE
	@python=$$(sh commands/find-python) && exec "$$python" commands $@ $(ARGS)

FORCE: ;

# Make would make this file, too, by the rule above.
Makefile: ;
