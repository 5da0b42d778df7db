// The default credentials chain of the SDK for Go v2: a line in ("load" or "again"), a line of JSON out.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

func main() {
	answers, lines := json.NewEncoder(os.Stdout), bufio.NewScanner(os.Stdin)
	var loaded aws.Config
	for lines.Scan() {
		var err error
		if lines.Text() == "load" {
			loaded, err = config.LoadDefaultConfig(context.Background())
		}
		var found aws.Credentials
		if err == nil {
			found, err = loaded.Credentials.Retrieve(context.Background())
		}
		if err != nil {
			_ = answers.Encode(map[string]string{"error": err.Error()})
		} else {
			_ = answers.Encode(map[string]string{"key": found.AccessKeyID})
		}
	}
}
