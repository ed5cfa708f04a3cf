# Sourced by .ci/run and run.sh: a virtual environment with the pinned tools, made once per target directory.
# Sets $tools to its bin directory and puts that first on the PATH.
tools_folder="${CARGO_TARGET_DIR:-target}/tools"
tools_stamp="$tools_folder/$(sha256sum tests/deploy/requirements.txt | cut -c1-16)"
if [ ! -e "$tools_stamp" ]; then
  rm -rf "$tools_folder"
  python3 -m venv "$tools_folder"
  "$tools_folder/bin/pip" install --quiet --disable-pip-version-check --requirement tests/deploy/requirements.txt
  touch "$tools_stamp"
fi
tools="$(cd "$tools_folder/bin" && pwd)"
export PATH="$tools:$PATH" SAM_CLI_TELEMETRY=0 SAM_CLI_SKIP_UPDATE_CHECK=1
