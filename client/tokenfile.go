package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
)

// maxTokenFile bounds what is read of a token file: more than the longest token, which has 4,096 bytes.
const maxTokenFile = 64 << 10

// TokenFile returns an [Options.TokenSource] that reads the token from a file at each connect, without the white space
// around it. So a token that is replaced while the service runs, such as a projected token of a Kubernetes service
// account, is taken from the next connection on.
func TokenFile(path string) func(ctx context.Context) (string, error) {
	return func(context.Context) (string, error) {
		f, err := os.Open(path)
		if err != nil {
			return "", err // it names operation and path
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
		if err != nil {
			return "", fmt.Errorf("token file: %w", err)
		}
		if len(text) > maxTokenFile {
			return "", fmt.Errorf("token file %s: more than %d bytes", path, maxTokenFile)
		}
		return string(bytes.TrimSpace(text)), nil
	}
}
