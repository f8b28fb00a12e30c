#!/usr/bin/env bash
# What a promotion would change: each object as it would be applied, FROM beside TO.
#
#   deploy/diff.sh FROM TO
#
# Each is an overlay of deploy/kubernetes as it is in this folder, or with @ as git has it in a
# revision:
#
#   deploy/diff.sh production@HEAD production          what the changes that are not committed do
#   deploy/diff.sh production@v0.9.0 production@v1.0.0 what a release does
#   deploy/diff.sh staging production                  in what they differ, but for the namespace
#
# It asks no cluster. What somebody changed there by hand, `kubectl diff -k` tells. Exits 0 where
# nothing changes, 1 where something does, 2 where that cannot be told.
set -euo pipefail
shopt -s inherit_errexit

fail() {
  echo "$*" >&2
  exit 2
}

if [ "${1-}" = --help ]; then
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
  exit
fi
[ $# = 2 ] || fail "usage: deploy/diff.sh FROM TO (--help says more)"
[ "$1" != "$2" ] || fail "FROM and TO are the same: $1"
ROOT=$(cd "$(dirname "$0")/.." && pwd)
for program in kubectl git diff; do
  command -v "$program" >/dev/null || fail "$program is missing: see .ci/setup"
done
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

# render WHAT DIR: a file for each object.
render() {
  local overlay=${1%%@*} revision="" tree=$ROOT each name
  [[ $overlay =~ ^[a-z0-9-]+$ ]] || fail "not an overlay: $overlay"
  if [[ $1 == *@* ]]; then
    revision=${1#*@} tree=$WORK/tree
    rm -rf "$tree" && mkdir "$tree"
    git -C "$ROOT" rev-parse --quiet --verify "$revision^{commit}" >"$WORK/commit" ||
      fail "git has no revision $revision here"
    git -C "$ROOT" archive "$(cat "$WORK/commit")" | tar -x -C "$tree" || fail "git has no $revision"
  fi
  [ -d "$tree/deploy/kubernetes/overlays/$overlay" ] || fail "there is no overlay $1"
  mkdir "$2"
  kubectl kustomize "$tree/deploy/kubernetes/overlays/$overlay" --output "$2" || fail "$1 cannot be rendered"
  # Generated ones end in a hash of their content: what was made of one is the next one.
  for each in "$2"/*_configmap_*; do
    name=$(sed -E 's/-[a-z0-9]{10}\.yaml$/.yaml/' <<<"$each")
    [ "$each" = "$name" ] || mv "$each" "$name"
  done
}

FROM=$WORK/shown/${1//\//-} TO=$WORK/shown/${2//\//-}
mkdir "$WORK/shown"
render "$1" "$FROM"
render "$2" "$TO"
cd "$WORK/shown"
# Of one overlay each object that comes or goes is shown; what only one of two has is named.
shown=(--new-file)
if [ "${1%%@*}" != "${2%%@*}" ]; then
  shown=(--ignore-matching-lines='^  namespace: ')
fi
code=0
diff --recursive --unified=5 "${shown[@]}" "${FROM##*/}" "${TO##*/}" >"$WORK/diff" || code=$?
[ "$code" -lt 2 ] || fail "$1 and $2 cannot be compared"
# Without the command, and when files were written.
sed -E '/^diff --recursive /d; s/^(---|\+\+\+) ([^\t]+)\t.*/\1 \2/' "$WORK/diff"
exit "$code"
