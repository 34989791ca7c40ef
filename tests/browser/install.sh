#!/usr/bin/env bash
# Install a Chromium for the tests of this folder from the distribution's packages.
# Nothing calls this by itself but continuous integration; without a browser the tests
# are skipped and say so. Never downloads a browser from anywhere else.
set -euo pipefail

for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null 2>&1; then
        echo "browser found: $(command -v "$name")"
        exit 0
    fi
done
if ! command -v apt-get >/dev/null 2>&1; then
    echo "no browser, and no apt-get to install one: browser tests will be skipped" >&2
    exit 3
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "no browser; as root: apt-get install chromium" >&2
    exit 3
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
