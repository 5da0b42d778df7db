#!/usr/bin/env bash
# The story of how pods got their AWS roles, told by running it: nothing is printed that was not just obtained.
# Takes half a minute, needs no AWS account, no cluster and no root; leaves nothing behind.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/rolecall-demo.XXXXXX")
plane=
failures=0

# What the caller's shell says about AWS is not ours to use.
for name in $(compgen -e AWS_) ROLECALL_STATE_DIR; do unset "$name"; done
export NODE_NO_WARNINGS=1 # the SDK announces the end of old versions of node

cleanup() {
  trap - EXIT
  if [[ -n $plane ]]; then kill -TERM "$plane" 2>/dev/null && wait "$plane" 2>/dev/null; fi
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' plain=$'\e[0m'; else bold='' dim='' red='' plain=''; fi

chapter() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
tell() { printf '%s\n' "$*"; }

wrong() {
  failures=$((failures + 1))
  printf '%s  ✗ %s%s\n' "$red" "$1" "$plain"
}

# step EXIT-CODE PATTERN COMMAND…: run it, show it and what it printed, and hold both against what is expected.
step() {
  local code=$1 pattern=$2 shown answer got
  shift 2
  shown="$*"
  shown=${shown//"$here/"/}
  printf '%s$ %s%s\n' "$dim" "${shown//"$work/"/}" "$plain"
  answer=$("$@" 2>&1) && got=0 || got=$?
  printf '%s\n' "$answer" | sed 's/^/  /'
  if [[ $code != any && $got != "$code" ]]; then wrong "exit code $got, expected $code"; fi
  if ! grep -qE -- "$pattern" <<<"$answer"; then wrong "expected: $pattern"; fi
  last=$answer
}

# ---- the stage ----

rolecall dev --state-dir "$work/state" --listen 127.0.0.1:0 --agent-listen 127.0.0.1:0 --imds-listen 127.0.0.1:0 \
  --max-token-seconds 10 >"$work/dev.out" 2>"$work/dev.err" &
plane=$!
for _ in {1..200}; do
  if rolecall env --state-dir "$work/state" >"$work/env" 2>/dev/null || ! kill -0 "$plane" 2>/dev/null; then break; fi
  sleep 0.05
done
if [[ ! -s $work/env ]]; then
  printf 'demo: rolecall dev did not start\n' >&2
  cat "$work/dev.err" >&2
  exit 2
fi
# shellcheck source=/dev/null
source "$work/env"
account=123456789012

chapter "An AWS account of your own"
tell "rolecall dev serves STS, IAM, EKS and EKS Auth at $AWS_ENDPOINT_URL; the AWS CLI makes what the story needs."
if ! "$here/setup.sh" all >"$work/variables" 2>"$work/setup.err"; then
  cat "$work/setup.err" >&2
  exit 2
fi
sed 's/^/  /' "$work/setup.err"
# shellcheck source=/dev/null
source "$work/variables"
carts=$EKS_CLUSTER_NAME-carts-dynamo

mkdir "$work/tokens"
make_token() { rolecall token create --cluster "$EKS_CLUSTER_NAME" -n "$1" -s "$2" --audience "$3" >"$work/tokens/$4"; }
make_token demo-ns demo-sa pods.eks.amazonaws.com demo-sa.expired # its ten seconds are over when it is used
token_made=$SECONDS

whoami=(aws sts get-caller-identity --query Arn --output text)

chapter "1  Host role: the node's metadata service gives the node's role, and knows nobody"
step 0 "assumed-role/rolecall-node/i-" rolecall run -n carts -s carts --via host-role -- "${whoami[@]}"
carts_is=$(grep -o 'arn:.*' <<<"$last")
step 0 "assumed-role/rolecall-node/i-" rolecall run -n orders -s orders --via host-role -- "${whoami[@]}"
if [[ $(grep -o 'arn:.*' <<<"$last") != "$carts_is" ]]; then wrong "both pods were expected to be the same"; fi
tell "  Two pods, one identity: what carts needs, orders may do as well."

chapter "2  Metadata proxies: the same door, but somebody stands in it who knows which pod asks"
legacy=$EKS_CLUSTER_NAME-legacy-carts
tell "  kube2iam reads the pod's annotation, and assumes that role with the node's:"
step 0 "assumed-role/$legacy/" rolecall run -n carts -s carts --via kube2iam --role "$legacy" -- "${whoami[@]}"
step 0 "its own role +200" rolecall run -n carts -s carts --via kube2iam --role "$legacy" -- \
  python "$here/neighbour.py" "$EKS_CLUSTER_NAME-role" rolecall-node
tell
tell "  Whoever may annotate a pod chooses its role. With kiam the namespace has to permit it, or there is none:"
step any "Unable to locate credentials" rolecall run -n carts -s carts --via kiam --role "$legacy" -- "${whoami[@]}"
step 0 "annotated" rolecall namespace annotate -n carts "iam.amazonaws.com/permitted=.*/$legacy"
step 0 "assumed-role/$legacy/kiam-" rolecall run -n carts -s carts --via kiam --role "$legacy" -- "${whoami[@]}"
tell
tell "  metadataproxy needs no Kubernetes: it reads a variable of the container."
step 0 "assumed-role/$legacy/" \
  rolecall run -n carts -s carts --via metadataproxy --env "IAM_ROLE=$legacy" -- "${whoami[@]}"

chapter "3  IRSA: a token of the cluster's issuer, and a role that trusts the issuer"
step 0 "assumed-role/$carts/" rolecall run -n carts -s carts -- aws sts get-caller-identity --query Arn --output text
step 0 "web-identity" rolecall run -n carts -s carts -- python "$here/whoami.py" "$EKS_CLUSTER_NAME-role"
tell
tell "  One role, many clusters: each adds a statement to the trust policy, which holds 2,048 characters."
step 0 "LimitExceeded" python "$here/fill_trust.py" "$carts"

chapter "4  Pod Identity: a token for the agent, and an association that names the role"
step 0 "assumed-role/$EKS_CLUSTER_NAME-role/eks-" \
  rolecall run -n demo-ns -s demo-sa -- aws sts get-caller-identity --query Arn --output text
step 0 "container-role" rolecall run -n demo-ns -s demo-sa -- python "$here/whoami.py" "$carts"
key=$(grep -oE 'ASIA[A-Z2-7]{16}' <<<"$last")
tell
tell "  Its session carries six tags, which policies can ask for:"
step 0 "kubernetes-pod-uid" rolecall session describe "$key"
if [[ $(grep -c '(transitive)' <<<"$last") != 6 ]]; then wrong "six transitive tags were expected"; fi

tell
tell "  The same role for a second cluster takes an association there, and no word in the role:"
aws eks create-cluster --name second --resources-vpc-config '{}' --role-arn "arn:aws:iam::$account:role/cluster" \
  >/dev/null || wrong "the second cluster could not be made"
step 0 "second" rolecall association create --cluster second -n demo-ns -s demo-sa --role-arn "$IAM_ROLE_ARN"
step 0 "assumed-role/$EKS_CLUSTER_NAME-role/eks-second-" \
  rolecall run --cluster second -n demo-ns -s demo-sa -- python "$here/whoami.py" "$carts"
step 0 "eks-cluster-name: +second" rolecall session describe "$(grep -oE 'ASIA[A-Z2-7]{16}' <<<"$last")"

if [[ -d $here/js/node_modules ]] && command -v node >/dev/null; then
  tell
  tell "  And in another language, both ways:"
  step 0 "AccessDenied" rolecall run --cluster "$EKS_CLUSTER_NAME" -n demo-ns -s demo-sa -- \
    node "$here/js/whoami.mjs" "$carts"
  step 0 "AccessDenied" rolecall run --cluster "$EKS_CLUSTER_NAME" -n carts -s carts -- \
    node "$here/js/whoami.mjs" "$EKS_CLUSTER_NAME-role"
else
  tell "  (JavaScript is left out: node or its packages are not here)"
fi

chapter "What outsiders get"
step 1 "no identity: NoCredentialsError" \
  rolecall run --cluster "$EKS_CLUSTER_NAME" -n demo-ns -s demo-sa --without-role -- python "$here/whoami.py" "$carts"
step 125 "neither an association nor an" rolecall run --cluster "$EKS_CLUSTER_NAME" -n demo-ns -s nobody -- true
make_token carts carts sts.amazonaws.com carts
make_token carts cartz sts.amazonaws.com cartz
make_token carts carts elsewhere.example carts.foreign
make_token demo-ns demo-sa elsewhere.example demo-sa.foreign
while ((SECONDS - token_made < 11)); do sleep 0.2; done
step 0 "token is expired" rolecall run --cluster "$EKS_CLUSTER_NAME" -n demo-ns -s demo-sa -- \
  python "$here/outsiders.py" "$work/tokens" "arn:aws:iam::$account:role/$carts"

if ((failures)); then
  printf '\n%s%d things were not as expected.%s\n' "$red" "$failures" "$plain"
  exit 1
fi
printf '\nAll as expected, in %d s. Try it yourself: rolecall dev\n' "$SECONDS"
