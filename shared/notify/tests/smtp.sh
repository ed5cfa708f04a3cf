#!/usr/bin/env bash
# Email through a real mail server: STARTTLS, TLS, a login, refusals; then the messages as Python's parser reads them.
set -euo pipefail
cd "$(dirname "$0")/../../.."

work=target/smtp-test
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check aiosmtpd==1.4.6 atpublic==5.1 attrs==25.3.0
"$work/venv/bin/python" -W ignore::UserWarning shared/notify/tests/smtp_server.py "$work" \
  cargo test --locked --workspace --test smtp
