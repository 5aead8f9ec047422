# The verbs of this project. Each prints the command it runs.

INVENTORY ?= inventory/homelab.yml
# Of those joined by + two run at the same time, the longest first.
SCENARIOS ?= default+switch+routing+examples+llamacpp+bare+gpu-nvidia+gpu-amd+gpu-none
# More words for ansible-playbook, such as -K where sudo asks for a password.
ARGS ?=

export PATH := $(CURDIR)/.venv/bin:$(PATH)
TOOLS := .venv/complete
PLAY := ansible-playbook -i $(INVENTORY)$(if $(ARGS), $(ARGS))

.DEFAULT_GOAL := help
.PHONY: help demo test fast scenarios suggest check apply models rollback verify status drill secrets client lint docs lock bench clean

help: ## List the verbs
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(TOOLS) ## Deploy onto a disposable box on this machine and ask it a question
	scripts/demo

test: lint fast scenarios ## Run everything: linters, fast tests, and real roles on disposable boxes

fast: $(TOOLS) ## Run the tests that need no Docker
	python -m pytest --numprocesses auto --dist worksteal

scenarios: $(TOOLS) ## Run the real roles on disposable boxes
	scripts/scenarios $(SCENARIOS)

suggest: $(TOOLS) ## Say which ready list of models fits the box
	$(PLAY) playbooks/suggest.yml

check: $(TOOLS) ## Show what apply would change, without changing it
	$(PLAY) playbooks/site.yml --check --diff

apply: $(TOOLS) ## Put the gateway on its box
	$(PLAY) playbooks/site.yml --diff

models: $(TOOLS) ## Switch models: the short way from an edited catalog to answers
	$(PLAY) playbooks/models.yml --diff

rollback: $(TOOLS) ## Go back to the state before the last change
	$(PLAY) playbooks/rollback.yml --diff

verify: $(TOOLS) ## Ask the running gateway real questions; MODEL=name asks that one alone, in depth
	$(PLAY) playbooks/verify.yml$(if $(MODEL), -e '{"verify_models": ["$(MODEL)"]}')

status: $(TOOLS) ## Show spend, open breakers and containers
	$(PLAY) playbooks/status.yml

drill: $(TOOLS) ## Let parts of the gateway fail and measure what clients see; it asks first
	$(PLAY) playbooks/drill.yml

secrets: $(TOOLS) ## Make the gateway's secrets, once
	ansible-playbook playbooks/secrets.yml -i localhost,

# Only a NAME of the command line counts: some systems set one in the environment.
client: $(TOOLS) ## Give an application its key: NAME=app; later ROTATE=1, then FINISH=1
	$(if $(and $(ROTATE),$(FINISH)),$(error ROTATE=1 makes the second key and FINISH=1 drops the first: run make client with one of them))
	CLIENT_NAME='$(if $(filter command,$(origin NAME)),$(subst ','\'',$(value NAME)))' ansible-playbook playbooks/client.yml -i localhost,$(if $(ROTATE), -e client_step=rotate)$(if $(FINISH), -e client_step=finish)

lint: $(TOOLS) ## Check the style of everything
	yamllint --strict .
	ruff check
	ruff format --check
	mypy
	ansible-lint --offline

docs: $(TOOLS) ## Write the pages of the roles anew from their contracts
	python scripts/role_docs.py

lock: $(TOOLS) ## Pin the newest tools, with hashes
	uv pip compile --system-certs --quiet --universal --python-version 3.11 --generate-hashes --upgrade requirements.in --output-file requirements.txt

bench: $(TOOLS) ## Measure runs, a switch and the load it bears, as ratios; PART=runs, switch or load measures that alone
	scripts/bench$(if $(PART), --part $(PART))

clean: $(TOOLS) ## Remove everything that demo and test left on this machine, and the tools
	python molecule/shared/bed clean
	rm -rf .venv .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(TOOLS): requirements.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "Install Python 3.11 or newer, such as: apt-get install python3 python3-venv" >&2; exit 2; }
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "Install Python's venv, such as: apt-get install python3-venv" >&2; exit 2; }
	python3 -m venv --clear .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.txt > .venv/uv.txt
	pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.txt
	VIRTUAL_ENV=$(CURDIR)/.venv uv pip install --system-certs --require-hashes --requirement requirements.txt
	touch $@
