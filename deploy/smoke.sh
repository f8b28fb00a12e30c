#!/usr/bin/env bash
# Is what answers at URL what was meant to run there, and does it do what it is for?
#
#   deploy/smoke.sh URL [ADMIN_URL...]
#
# ADMIN_URL is the admin listener; where several replicas share URL, one for each, since a
# metric moves on one of them alone. Without it, /metrics is asked of URL.
#
#   EXPECT_VERSION    the version that must run, and
#   EXPECT_COMMIT     the commit (as many digits as you have, seven at least)
#   SMOKE_KEY_FILE    a file with the API key of a decoder, where callers must say who they are
#   SMOKE_SOURCE      a document with at least one secret between {* and *}, to be fetched, too
#   ALERTMANAGER_URL  sends a test alert that becomes a ticket, and ends it before anyone is told
#   ALERT_RECEIVER    who has to be told of tickets (mail)
#   SMOKE_SECONDS     for all of it (60)
#
# One JSON object on standard output: {"ok", "url", "ms", "checks": [{"name", "ok", "detail",
# "ms"}]}. Lines for people on standard error. Exits 1 if anything is wrong, 2 for wrong usage.
#
# What stands in single quotes and has a dollar in it is for jq.
# shellcheck disable=SC2016
set -euo pipefail
shopt -s inherit_errexit

usage() {
  echo "${1:-usage: deploy/smoke.sh URL [ADMIN_URL...]}" >&2
  exit 2
}

for program in curl jq; do
  command -v "$program" >/dev/null || usage "$program is missing: apt-get install $program"
done
[ $# -ge 1 ] || usage
for url in "$@" "${ALERTMANAGER_URL:-http://}"; do
  [[ $url =~ ^https?:// ]] || usage "not a URL: $url"
done
URL=${1%/}
shift
ADMINS=("${@%/}")
ALERTMANAGER=${ALERTMANAGER_URL-}
ALERTMANAGER=${ALERTMANAGER%/}
TOLD_OF_TICKETS=${ALERT_RECEIVER:-mail}
LIMIT=${SMOKE_SECONDS:-60}
[[ $LIMIT =~ ^[1-9][0-9]*$ ]] || usage "SMOKE_SECONDS is a number: $LIMIT"
# For one request.
EACH=10

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
# A key goes to curl in a file: in no list of processes, and to nobody but the decoder.
credentials=$WORK/credentials
touch "$credentials"
if [ -n "${SMOKE_KEY_FILE-}" ]; then
  key=$(head -n 1 "$SMOKE_KEY_FILE") || usage "SMOKE_KEY_FILE cannot be read: $SMOKE_KEY_FILE"
  [[ $key =~ ^[A-Za-z0-9._-]+$ ]] || usage "SMOKE_KEY_FILE has no key in its first line"
  printf 'header = "Authorization: Bearer %s"\n' "$key" >"$credentials"
fi
NONCE=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')

fail() {
  echo "$*" >&2
  exit 1
}

# ask FILE URL WORDS...: one request. The body goes to FILE; prints the status and the type.
ask() {
  local file=$1 url=$2 left=$((LIMIT - SECONDS))
  shift 2
  [ "$left" -gt 0 ] || fail "the time for all of it, $LIMIT s, is over"
  : >"$file"
  (
    # Four megabytes of an answer, whatever it says of its size; then curl cannot write.
    trap '' XFSZ
    ulimit -f 4096
    exec curl --silent --show-error --max-time $((left < EACH ? left : EACH)) --output "$file" \
      --write-out '%{http_code} %{content_type}' "$@" "$url"
  )
}

# decode FILE JSON: asks for a decode, as whoever the key belongs to.
decode() {
  ask "$1" "$URL/decode" --config "$credentials" --header 'Content-Type: application/json' --data "$2"
}

# holds FILE FILTER WORDS...: whether this is one value of JSON, of which the filter is true. Of no
# value at all, jq calls anything true.
holds() {
  local file=$1 filter=$2
  shift 2
  jq --exit-status --slurp "$@" "length == 1 and (.[0] | $filter)" "$file" >"$WORK/judged" 2>&1
}

# What answered, short enough to be read in a message.
excerpt() {
  head -c 300 "$1" | tr -c '[:print:]' ' '
}

# until_so WHAT COMMAND...: tries it again for a few seconds.
until_so() {
  local what=$1 end=$((SECONDS + 5))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || fail "$what"
    sleep 0.1
  done
}

# runs URL FILE: what runs there, as its health says.
runs() {
  local status
  status=$(ask "$2" "$1/health")
  [[ $status == 200\ * ]] || fail "$1/health answers $status: $(excerpt "$2")"
  holds "$2" '.status == "ok" and (.version | length > 0) and (.commit | length > 0)' ||
    fail "$1/health is not that of a decoder: $(excerpt "$2")"
}

health() {
  runs "$URL" "$WORK/health"
  jq --raw-output '"up for \(.uptime_seconds) s"' "$WORK/health"
}

version() {
  local each said=$WORK/version found
  for each in "$URL" "${ADMINS[@]}"; do
    runs "$each" "$said"
    found="$each runs $(jq --raw-output '"\(.version) (\(.commit))"' "$said")"
    holds "$said" '$version == "" or .version == $version' --arg version "${EXPECT_VERSION-}" ||
      fail "$found, and version $EXPECT_VERSION is expected"
    # One of both commits may have been cut short.
    holds "$said" '.commit as $runs | $commit == "" or ([$runs, $commit] | map(length) | min >= 7)
      and (($runs | startswith($commit)) or ($commit | startswith($runs)))' \
      --arg commit "${EXPECT_COMMIT-}" ||
      fail "$found, and commit $EXPECT_COMMIT is expected"
  done
  echo "$found"
}

ready() {
  local status
  status=$(ask "$WORK/ready" "$URL/health/ready")
  [[ $status == 200\ * ]] || fail "/health/ready answers $status: $(excerpt "$WORK/ready")"
  holds "$WORK/ready" '.status == "ready"' || fail "not ready: $(excerpt "$WORK/ready")"
  jq --raw-output '.checks | keys | join(", ")' "$WORK/ready"
}

# A document that nobody has seen before, so that no answer can be kept in stock.
decodes() {
  local document status expected
  document=$(printf '{* never closed\n{*SMOKE: %s*} decoy\nand {* the key of %s *}\n' "$NONCE" "$NONCE")
  expected='{
    secrets: [
      {value: "SMOKE: \($nonce)", category: "SMOKE", offset: 16, line: 2, pair: 0, truncated: false},
      {value: "the key of \($nonce)", category: "UNCLASSIFIED", offset: 54, line: 3, pair: 0, truncated: false}
    ],
    summary: {returned: 2, stopped_by: null, bytes_scanned: ($document | utf8bytelength),
              unterminated: 1, categories: {SMOKE: 1, UNCLASSIFIED: 1}}
  }'
  status=$(decode "$WORK/decode" "$(jq --null-input --arg document "$document" \
    '{content: $document, markers: [{start: "{*", end: "*}"}], output: "full"}')")
  [[ $status == "200 application/json"* ]] || fail "/decode answers $status: $(excerpt "$WORK/decode")"
  holds "$WORK/decode" "$expected == {
      secrets: [.secrets[] | {value, category, offset, line, pair, truncated}],
      summary: .summary | {returned, stopped_by, bytes_scanned, unterminated, categories}
    }" --arg nonce "$NONCE" --arg document "$document" ||
    fail "a document is decoded wrongly: $(excerpt "$WORK/decode")"
  echo "2 secrets, each at its place"
}

denies() {
  local status
  status=$(decode "$WORK/denied" '{"source": "https://169.254.169.254/latest/meta-data/"}')
  [[ $status == "403 application/problem+json"* ]] ||
    fail "a metadata service is not denied: $status, $(excerpt "$WORK/denied")"
  holds "$WORK/denied" '.code == "source_denied"' ||
    fail "denied, and not by the policy: $(excerpt "$WORK/denied")"
  echo "a metadata service is denied"
}

fetches() {
  local status
  status=$(decode "$WORK/fetched" "$(jq --null-input --arg source "$SMOKE_SOURCE" \
    '{source: $source, markers: [{start: "{*", end: "*}"}], output: "summary"}')")
  [[ $status == "200 application/json"* ]] || fail "no fetch: $status, $(excerpt "$WORK/fetched")"
  holds "$WORK/fetched" '.fetch.status == 200 and .summary.returned > 0' ||
    fail "fetched, and nothing found: $(excerpt "$WORK/fetched")"
  jq --raw-output '"\(.fetch.bytes) bytes, \(.summary.returned) secrets"' "$WORK/fetched"
}

# The metrics of all replicas, one after the other.
scraped() {
  local admin status
  : >"$WORK/metrics"
  for admin in "${ADMINS[@]:-$URL}"; do
    status=$(ask "$WORK/scrape" "$admin/metrics")
    [[ $status == 200\ * ]] || fail "$admin/metrics answers $status"
    cat "$WORK/scrape" >>"$WORK/metrics"
  done
}

# How many decodes succeeded and how many were denied, over all replicas.
counted() {
  scraped
  awk '
    /^decoder_decodes_total\{/ { seen = 1 }
    /^decoder_decodes_total\{.*outcome="success"/ { success += $NF }
    /^decoder_decodes_total\{.*code="source_denied"/ { denied += $NF }
    END { if (!seen) exit 1; printf "%.0f %.0f\n", success, denied }
  ' "$WORK/metrics" || fail "no decodes are counted at all"
}

counts_before() {
  counted >"$WORK/before"
  awk '{ print $1 " decodes, " $2 " denied so far" }' "$WORK/before"
}

counts() {
  until_so "decodes are not counted: $(cat "$WORK/before") before, the same after" have_moved
  awk '{ print $1 " decodes, " $2 " denied" }' "$WORK/after"
}

have_moved() {
  local success denied success_now denied_now
  read -r success denied <"$WORK/before"
  counted >"$WORK/after"
  read -r success_now denied_now <"$WORK/after"
  [ "$success_now" -gt "$success" ] && [ "$denied_now" -gt "$denied" ]
}

limits() {
  until_so "a replica does not reach what limits are counted in, or does not say" have_backends
  echo "$(grep --count '^decoder_rate_limit_backend_up 1$' "$WORK/metrics") replicas reach what limits are counted in"
}

have_backends() {
  scraped
  [ "$(grep --count '^decoder_rate_limit_backend_up 1$' "$WORK/metrics")" = $((${#ADMINS[@]} ? ${#ADMINS[@]} : 1)) ]
}

# alert ENDS: says to Alertmanager that the test alert goes on until then.
alert() {
  local status
  status=$(ask "$WORK/posted" "$ALERTMANAGER/api/v2/alerts" --header 'Content-Type: application/json' \
    --data "$(jq --null-input --arg run "$NONCE" --arg starts "$STARTED" --arg ends "$1" '[{
      labels: {alertname: "DecoderSmokeTest", severity: "ticket", job: "decoder-smoke", run: $run},
      annotations: {summary: "A test of the way to whoever is told of alerts; nothing is wrong"},
      startsAt: $starts, endsAt: $ends
    }]')")
  [[ $status == 200* ]] || fail "Alertmanager takes no alert: $status, $(excerpt "$WORK/posted")"
}

# alerts FILE FILTER...: what Alertmanager has of such alerts.
alerts() {
  local file=$1 status words=()
  shift
  for filter in "$@"; do words+=(--data-urlencode "filter=$filter"); done
  status=$(ask "$file" "$ALERTMANAGER/api/v2/alerts" --get "${words[@]}")
  [[ $status == "200 application/json"* ]] || fail "Alertmanager answers $status: $(excerpt "$file")"
}

has_arrived() {
  alerts "$WORK/alert" "run=\"$NONCE\""
  holds "$WORK/alert" 'length == 1 and .[0].status.state == "active"'
}

has_ended() {
  alerts "$WORK/alert" "run=\"$NONCE\""
  holds "$WORK/alert" 'length == 0'
}

alerting() {
  STARTED=$(date --utc +%FT%TZ)
  # It ends by itself should nobody be left to end it; and before Alertmanager tells anyone.
  alert "$(date --utc --date '4 minutes' +%FT%TZ)"
  local arrived=yes
  (until_so "a test alert did not become active" has_arrived) || arrived=no
  cp "$WORK/alert" "$WORK/arrived"
  alert "$(date --utc +%FT%TZ)"
  [ "$arrived" = yes ] || exit 1
  holds "$WORK/arrived" '.[0].receivers | map(.name) | index($receiver)' --arg receiver "$TOLD_OF_TICKETS" ||
    fail "a ticket does not go to $TOLD_OF_TICKETS, but to $(jq --compact-output '.[0].receivers' "$WORK/arrived")"
  until_so "a test alert did not end" has_ended
  echo "a ticket arrived, would have gone to $TOLD_OF_TICKETS, and has ended"
}

watchdog() {
  alerts "$WORK/watchdog" 'alertname="DecoderWatchdog"'
  holds "$WORK/watchdog" 'any(.status.state == "active")' ||
    fail "DecoderWatchdog is not active: Prometheus does not reach Alertmanager"
  echo "Prometheus reaches Alertmanager"
}

now_ms() {
  echo $((${EPOCHREALTIME/./} / 1000))
}

# check NAME FUNCTION: notes what came of it.
check() {
  local name=$1 begun detail code word=ok
  begun=$(now_ms)
  if [ -f "$WORK/stop" ]; then
    detail="not tried" code=1
  else
    set +e
    detail=$(
      set -e
      "$2" 2>&1
    )
    code=$?
    set -e
  fi
  [ "$code" = 0 ] || word=FAIL
  printf '%-4s %-8s %s\n' "$word" "$name" "$detail" >&2
  jq --null-input --compact-output --arg name "$name" --arg detail "$detail" \
    --argjson ok "$([ "$code" = 0 ] && echo true || echo false)" \
    --argjson ms $(($(now_ms) - begun)) '{$name, $ok, $detail, $ms}' >>"$WORK/checks"
}

BEGUN=$(now_ms)
check health health
# Where nothing answers, all else would only say so again.
holds "$WORK/checks" .ok || touch "$WORK/stop"
check version version
check ready ready
check before counts_before
check decode decodes
check denial denies
if [ -n "${SMOKE_SOURCE-}" ]; then check fetch fetches; fi
check metric counts
# By now the replica that decoded has asked it.
check limits limits
if [ -n "$ALERTMANAGER" ]; then
  check alert alerting
  check watchdog watchdog
fi

jq --slurp --exit-status --arg url "$URL" --argjson ms $(($(now_ms) - BEGUN)) \
  '{ok: all(.ok), $url, $ms, checks: .}' "$WORK/checks" >"$WORK/result"
cat "$WORK/result"
holds "$WORK/result" .ok || fail "the smoke test of $URL FAILED"
