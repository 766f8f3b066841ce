module github.com/mastersocket/mastersocket

go 1.26.0
