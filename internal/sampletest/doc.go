// Package sampletest runs the sample client of docs/protocol.md, section 18, against a built hub.
package sampletest
