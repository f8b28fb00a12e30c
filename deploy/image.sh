#!/usr/bin/env bash
# Which image an overlay of deploy/kubernetes runs.
#
#   deploy/image.sh OVERLAY IMAGE           prints its digest
#   deploy/image.sh OVERLAY IMAGE DIGEST    writes it: sha256: and 64 digits
#
# IMAGE is the name by which the manifests know it: blueprint-decoder or valkey. What staging runs
# goes to production by
#
#   deploy/image.sh production blueprint-decoder "$(deploy/image.sh staging blueprint-decoder)"
#
# and a commit; deploy/diff.sh shows what that changes. Exits 2 for wrong usage.
set -euo pipefail

usage() {
  echo "${1:-usage: deploy/image.sh OVERLAY IMAGE [DIGEST]}" >&2
  exit 2
}

if [ "${1-}" = --help ]; then
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
  exit
fi
[ $# = 2 ] || [ $# = 3 ] || usage
OVERLAY=$1 IMAGE=$2 DIGEST=${3-}
FILE=$(dirname "$0")/kubernetes/overlays/$OVERLAY/kustomization.yaml
[ -f "$FILE" ] || usage "there is no overlay $OVERLAY"

# Its name, then its digest, within the next lines.
is=$(sed -n "/^  - name: $IMAGE\$/,/^    digest: /s/^    digest: //p" "$FILE")
[[ $is =~ ^sha256:[0-9a-f]{64}$ ]] || usage "$FILE has no one digest of an image $IMAGE"
if [ $# = 2 ]; then
  echo "$is"
  exit
fi
[[ $DIGEST =~ ^sha256:[0-9a-f]{64}$ ]] || usage "not a digest: $DIGEST"
[[ ${DIGEST#sha256:} =~ [^0] ]] || usage "no image was chosen yet: $DIGEST"
sed -i "/^  - name: $IMAGE\$/,/^    digest: /s/^    digest: .*/    digest: $DIGEST/" "$FILE"
