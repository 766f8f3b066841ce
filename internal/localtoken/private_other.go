//go:build !unix

package localtoken

import "io/fs"

// private is true where a file's mode says nothing about who may read it: the user's cache folder there is private by
// its access control list (%LocalAppData% on Windows).
func private(fs.FileInfo) bool { return true }
