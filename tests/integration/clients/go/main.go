// EKS Auth by the Go SDK's own client, the one inside AWS's agent: eksauth CLUSTER TOKEN-FILE.
// Prints one JSON object; credentials, region and endpoint come from the environment.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/eksauth"
	"github.com/aws/smithy-go"
)

func main() {
	token, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	keys := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY")}, nil
	})
	client := eksauth.New(eksauth.Options{
		Region: os.Getenv("AWS_REGION"), Credentials: keys, BaseEndpoint: aws.String(os.Getenv("AWS_ENDPOINT_URL")),
		Retryer: retry.AddWithMaxBackoffDelay(retry.NewStandard(), 1),
	})
	out, err := client.AssumeRoleForPodIdentity(context.Background(), &eksauth.AssumeRoleForPodIdentityInput{
		ClusterName: aws.String(os.Args[1]), Token: aws.String(string(token)),
	})
	answer := map[string]any{}
	var failure smithy.APIError
	if errors.As(err, &failure) {
		answer["code"], answer["type"], answer["fault"] = failure.ErrorCode(), fmt.Sprintf("%T", failure), failure.ErrorFault().String()
	} else if err != nil {
		answer["error"] = err.Error()
	} else {
		answer["arn"], answer["association"] = *out.AssumedRoleUser.Arn, *out.PodIdentityAssociation.AssociationId
		answer["subject"], answer["expires"] = *out.Subject.ServiceAccount, out.Credentials.Expiration.Unix()
	}
	_ = json.NewEncoder(os.Stdout).Encode(answer)
}
