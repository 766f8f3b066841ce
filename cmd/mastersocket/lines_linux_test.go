package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maxLine is the longest line of a document outside of tables, in bytes.
const maxLine = 120

var address = regexp.MustCompile(`https?:`)

// TestDocumentLines: no line of a document is longer than maxLine, but for rows of tables and lines with an address.
func TestDocumentLines(t *testing.T) {
	t.Parallel()
	list, err := exec.Command("git", "-C", root, "ls-files", "*.md").Output()
	if err != nil {
		t.Skipf("the documents are listed by git: %v", err)
	}
	for _, path := range strings.Fields(string(list)) {
		b, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(b), "\n") {
			if len(line) <= maxLine || strings.HasPrefix(line, "|") || address.MatchString(line) {
				continue
			}
			t.Errorf("%s:%d: %d bytes, want at most %d", path, i+1, len(line), maxLine)
		}
	}
}
