# shellcheck shell=bash
# For scripts that build Go programs of pinned versions into a cache: control-plane/build and
# tools/build. They set `label` (what their messages begin with), `missing` (what to do about a
# program that is not built yet) and `building` (no: fail instead), and print NAME=PATH lines.

say() { printf '%s: %s\n' "$label" "$1" >&2; }
fail() {
  say "$1"
  exit 1
}

# Where built programs are kept.
cache=${ENCLAVE_OPERATOR_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/enclave-operator}
[[ $cache == /* ]] || cache=$PWD/$cache
# A folder whose programs are used before any others, if a script sets it.
assets=

# The version of a module as its go.mod states it, that of its replacement if it has one:
# version_in FOLDER MODULE
version_in() {
  local first second third found=''
  while read -r first second third; do
    if [[ $first == replace && $second == "$2" ]]; then
      found=${third##* }
      break
    fi
    [[ $first == require ]] && first=$second second=${third%% *}
    [[ $first == "$2" && $second == v* ]] && found=$second
  done <"$1/go.mod"
  [[ -n $found ]] || fail "$1/go.mod does not require $2"
  printf '%s' "$found"
}

# Fails unless there is a Go that is new enough for a module: need_go FOLDER
need_go() {
  command -v go >/dev/null || fail "Go is missing: install Go 1.26 or newer, https://go.dev/doc/install"
  (cd "$1" && go list -m >/dev/null) || fail "Go is too old: install Go 1.26 or newer, https://go.dev/doc/install"
}

# Builds one program into the cache: build MODULE FOLDER NAME PACKAGE [LDFLAGS]
build() {
  local module=$1 folder=$2 name=$3 package=$4 ldflags="-s -w ${5:-}" temporary
  [[ $building != no ]] || fail "$name is not built yet: $missing"
  need_go "$module"

  mkdir -p "$folder"
  exec 9>"$folder/.lock"
  # Without flock (macOS) two callers may both build, which costs time only: the move is atomic.
  if command -v flock >/dev/null && ! flock --nonblock 9; then
    say "waiting for another build of $name"
    flock 9
  fi
  if [[ ! -x $folder/$name ]]; then
    say "building $name v${folder##*-v} (a few minutes)"
    temporary=$folder/.$name.$$
    # shellcheck disable=SC2064  # the name is known now
    trap "rm -f '$temporary'" EXIT
    (cd "$module" && CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags "$ldflags" -o "$temporary" "$package") 9>&- ||
      fail "failed to build $name: see the lines above"
    mv "$temporary" "$folder/$name"
  fi
  exec 9>&-
}

# Prints the line of one program, after building it if need be; arguments as for build.
provide() {
  local folder=$2 name=$3
  if [[ -n $assets && -x $assets/$name ]]; then
    printf '%s=%s\n' "$name" "$assets/$name"
    return
  fi
  [[ -x $folder/$name ]] || build "$@"
  printf '%s=%s\n' "$name" "$folder/$name"
}
