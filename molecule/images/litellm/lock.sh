#!/bin/sh
# Locks what requirements.in and overrides.txt ask for, with hashes, into requirements.txt.
set -eu
cd "$(dirname "$0")"
exec uv pip compile --system-certs --custom-compile-command molecule/images/litellm/lock.sh --no-python-downloads --universal --python-version 3.13 \
  --no-build --generate-hashes --override overrides.txt --quiet --output-file requirements.txt requirements.in
