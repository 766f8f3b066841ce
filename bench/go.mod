module github.com/mastersocket/mastersocket/bench

go 1.26.0

replace github.com/mastersocket/mastersocket => ../

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/lxzan/gws v1.8.9
	github.com/mastersocket/mastersocket v0.0.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/dolthub/maphash v0.1.0 // indirect
	github.com/go-json-experiment/json v0.0.0-20260820222146-c27c302e5fc3 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/klauspost/compress v1.17.9 // indirect
)
