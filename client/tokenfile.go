package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
)

// maxTokenFile is the largest token file, in bytes; tokens have at most 8,192.
const maxTokenFile = 64 << 10

// TokenFile returns an [Options.TokenSource] that reads the token from a file for each connection and strips white space
// around it. A replaced token, such as a projected token of a Kubernetes service account, is used from the next connection
// on.
func TokenFile(path string) func(ctx context.Context) (string, error) {
	return func(context.Context) (string, error) {
		f, err := os.Open(path)
		if err != nil {
			return "", err // names operation and path
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
