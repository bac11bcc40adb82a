# Sourced by the other scripts: makes .venv with the pinned requirements, once for each state of the requirements.
# Usage: source tools/environment.sh [requirements-dev.txt]
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
requirements="${1:-requirements.txt}"
venv="${VENV:-$root/.venv}"

fail() {
  echo "error: $*" >&2
  exit 1
}

python="${PYTHON:-python3}"
command -v "$python" >/dev/null || fail "no $python found: install Python 3.10 to 3.13 (Debian: apt install python3 python3-venv)"
"$python" - <<'CHECK' || fail "$("$python" --version 2>&1) found, expected 3.10 to 3.13: set PYTHON to another interpreter"
import sys
sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
CHECK

stamp="$venv/.installed-$requirements"
wanted="$(cat "$root"/requirements*.txt "$root/pyproject.toml" | sha256sum | cut -d' ' -f1)"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv" || fail "could not make $venv (Debian: apt install python3-venv)"
  fi
  echo "installing $requirements into $venv (a few minutes, some GB the first time)"
  (cd "$root" && "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" -e .) \
    || fail "pip could not install $requirements: check the network and the disk, then run this again"
  echo "$wanted" > "$stamp"
fi
