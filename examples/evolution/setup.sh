#!/usr/bin/env bash
# Makes what the story needs, with the unmodified AWS CLI, in the account that the shell's variables name:
#
#   source STATE/env && eval "$(examples/evolution/setup.sh)"        cluster, OIDC provider, policy, two roles, annotation
#   source STATE/env && eval "$(examples/evolution/setup.sh all)"    the agent's add-on and an association as well, and
#                                                                    a role that the node may assume for pods
#
# What is there already is kept. It prints the variables that the next commands use.
set -euo pipefail

cluster=eks-pod-identity-demo
account=${AWS_ACCOUNT_ID:-123456789012}

say() { printf '%s\n' "$*" >&2; }

# Run a command of the AWS CLI that makes something; that it is there already is fine.
make_or_keep() {
  local answer
  if ! answer=$(aws "$@" 2>&1); then
    case $answer in
      *EntityAlreadyExists* | *ResourceInUseException*) answer= ;;
      *) say "$answer" && return 1 ;;
    esac
  fi
  printf '%s' "$answer"
}

say "cluster $cluster"
issuer=$(make_or_keep eks create-cluster --name "$cluster" --resources-vpc-config '{}' \
  --role-arn "arn:aws:iam::$account:role/cluster" --query cluster.identity.oidc.issuer --output text)
if [[ -z $issuer ]]; then
  issuer=$(aws eks describe-cluster --name "$cluster" --query cluster.identity.oidc.issuer --output text)
fi
host=${issuer#*://}

say "IRSA: the cluster's issuer as an OIDC provider, a policy, and a role for carts/carts"
make_or_keep iam create-open-id-connect-provider --url "$issuer" --client-id-list sts.amazonaws.com >/dev/null
carts=$cluster-carts-dynamo
make_or_keep iam create-policy --policy-name "$carts" --policy-document "$(
  cat <<JSON
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "AllAPIActionsOnCart", "Effect": "Allow", "Action": "dynamodb:*",
      "Resource": [
        "arn:aws:dynamodb:${AWS_REGION:-us-west-2}:$account:table/$cluster-carts",
        "arn:aws:dynamodb:${AWS_REGION:-us-west-2}:$account:table/$cluster-carts/index/*"
      ]
    },
    {"Sid": "OwnRole", "Effect": "Allow", "Action": "iam:GetRole", "Resource": "arn:aws:iam::$account:role/$carts"}
  ]
}
JSON
)" >/dev/null
make_or_keep iam create-role --role-name "$carts" --assume-role-policy-document "$(
  cat <<JSON
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Principal": {"Federated": "arn:aws:iam::$account:oidc-provider/$host"},
      "Action": "sts:AssumeRoleWithWebIdentity",
      "Condition": {
        "StringEquals": {"$host:sub": "system:serviceaccount:carts:carts", "$host:aud": "sts.amazonaws.com"}
      }
    }
  ]
}
JSON
)" >/dev/null
aws iam attach-role-policy --role-name "$carts" --policy-arn "arn:aws:iam::$account:policy/$carts"
rolecall serviceaccount annotate --cluster "$cluster" -n carts -s carts \
  --role-arn "arn:aws:iam::$account:role/$carts" >/dev/null

say "Pod Identity: a role that trusts the service itself"
role=$cluster-role
make_or_keep iam create-role --role-name "$role" --assume-role-policy-document '{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Principal": {"Service": "pods.eks.amazonaws.com"},
      "Action": ["sts:AssumeRole", "sts:TagSession"]
    }
  ]
}' >/dev/null
aws iam put-role-policy --role-name "$role" --policy-name own-role --policy-document "{
  \"Version\": \"2012-10-17\",
  \"Statement\": [
    {\"Effect\": \"Allow\", \"Action\": \"iam:GetRole\", \"Resource\": \"arn:aws:iam::$account:role/$role\"}
  ]
}"

if [[ ${1:-} == all ]]; then
  say "Pod Identity: the agent's add-on, and the role for demo-ns/demo-sa"
  make_or_keep eks create-addon --cluster-name "$cluster" --addon-name eks-pod-identity-agent >/dev/null
  make_or_keep eks create-pod-identity-association --cluster-name "$cluster" --namespace demo-ns \
    --service-account demo-sa --role-arn "arn:aws:iam::$account:role/$role" >/dev/null

  say "Metadata proxies: a role that trusts the node's own"
  make_or_keep iam create-role --role-name "$cluster-legacy-carts" --assume-role-policy-document "{
    \"Version\": \"2012-10-17\",
    \"Statement\": [
      {
        \"Effect\": \"Allow\",
        \"Principal\": {\"AWS\": \"arn:aws:iam::$account:role/rolecall-node\"},
        \"Action\": \"sts:AssumeRole\"
      }
    ]
  }" >/dev/null
fi

printf 'export %s\n' "AWS_ACCOUNT_ID=$account" "EKS_CLUSTER_NAME=$cluster" "IAM_ROLE_ARN=arn:aws:iam::$account:role/$role"
